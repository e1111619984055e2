"""`Dataset`: every sample's key, label and what is known of it, column by column.

A million samples with 28-character keys, labels and sizes hold 101 MB (measured): 85 of it the keys.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from aioloader.dataset.identity import assign_parts, fingerprint, fingerprint_parts
from aioloader.dataset.labels import LabelMode, Labels, frozen
from aioloader.errors import OptionError
from aioloader.storage.key_order import key_bytes
from aioloader.storage.stable_key import stable_key
from aioloader.types import FieldSpec, SampleRef, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

Column: TypeAlias = "Sequence[Any] | NDArray[Any]"


class Dataset:
    """N samples of one store, in a fixed order; immutable.

    A sample's id is its place, from 0 to N-1. Made by `image_folder`, `manifest`, `from_dataframe` and
    `from_samples`; ``len(data)``, ``data[i]`` and iteration work as on a list of `SampleRef`. ``sizes`` is
    int64 ``(N,)``, -1 where unknown; ``byte_ranges`` int64 ``(N, 2)`` of half-open ranges in bytes, -1 for
    the whole object; ``columns`` are what else each row carried.
    """

    def __init__(
        self,
        store: Store,
        keys: Iterable[str],
        *,
        labels: Labels | None = None,
        sizes: NDArray[np.int64] | None = None,
        etags: Sequence[str | None] | None = None,
        byte_ranges: NDArray[np.int64] | None = None,
        columns: Mapping[str, Column] | None = None,
    ) -> None:
        self._store = store
        self._keys = tuple(keys)
        self._labels = labels
        self._sizes = None if sizes is None else frozen(sizes)
        self._etags = None if etags is None else tuple(etags)
        self._byte_ranges = None if byte_ranges is None else frozen(byte_ranges)
        self._columns = dict(columns or {})

    @property
    def store(self) -> Store:
        """Where the bytes are; ``keys`` are relative to it."""
        return self._store

    @property
    def keys(self) -> tuple[str, ...]:
        """Every sample's key, in order; several samples share one where they are byte ranges of it."""
        return self._keys

    @property
    def labels(self) -> NDArray[Any] | None:
        """Class ids or numbers, never one-hot: int64 or float32 ``(N,)`` or ``(N, k)``; None without any."""
        return None if self._labels is None else self._labels.values

    @property
    def label_spec(self) -> FieldSpec | None:
        """Shape and dtype of one sample's label in a batch; None without labels."""
        return None if self._labels is None else self._labels.spec

    def batch_labels(self, ids: NDArray[np.int64]) -> NDArray[Any] | None:
        """The labels of ``ids`` as a batch has them, first axis the sample; None without labels."""
        return None if self._labels is None else self._labels.batch(ids)

    @property
    def label_mode(self) -> LabelMode | None:
        """How a `SampleRef` gets its label: ``"int"``, ``"categorical"``, ``"binary"``, or None."""
        return None if self._labels is None else self._labels.mode

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The name of each class id; None where labels are plain numbers or there are none."""
        return None if self._labels is None else self._labels.classes

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """Length of each sample's object in bytes, int64 ``(N,)``, -1 where unknown; None if all are."""
        return self._sizes

    @property
    def columns(self) -> Mapping[str, Column]:
        """What else each row carried, by column name; read only."""
        return MappingProxyType(self._columns)

    @cached_property
    def fingerprint_parts(self) -> dict[str, str]:
        """A digest by name: location, samples, keys, byte_ranges, labels, classes, sizes, etags.

        Comparing two datasets' parts says what changed. No part holds a secret.
        """
        return fingerprint_parts(
            self._store.location,
            self._keys,
            labels=self._labels,
            sizes=self._sizes,
            etags=self._etags,
            byte_ranges=self._byte_ranges,
        )

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change when samples, their order, labels or known sizes do."""
        return fingerprint(self.fingerprint_parts)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> SampleRef:
        """Sample ``index``, which may not be negative: an id is not a place counted from the end."""
        if index < 0 or index >= len(self._keys):
            raise self._no_such_id(index)
        byte_range = None
        if self._byte_ranges is not None and self._byte_ranges[index, 0] >= 0:
            start, stop = self._byte_ranges[index].tolist()
            byte_range = start, stop
        size_bytes = -1 if self._sizes is None else self._sizes.item(index)
        return SampleRef(
            index=int(index),
            key=self._keys[index],
            label=None if self._labels is None else self._labels.at(index),
            size_bytes=None if size_bytes < 0 else size_bytes,
            etag=None if self._etags is None else self._etags[index],
            byte_range=byte_range,
            columns={name: _cell(column, index) for name, column in self._columns.items()} if self._columns else {},
        )

    def identity(self, index: int) -> str:
        """What another run knows sample ``index`` by: 32 hexadecimal digits of its key and byte range; no secret."""
        place = "" if self._byte_ranges is None else str(self._byte_ranges[index].tolist())
        return hashlib.sha256(key_bytes(f"{stable_key(self._keys[index])}\n{place}")).hexdigest()[:32]

    def _no_such_id(self, index: int) -> IndexError:
        return IndexError(f"sample {index} of {len(self._keys)}: ids go from 0 to {len(self._keys) - 1}")

    def __iter__(self) -> Iterator[SampleRef]:
        return (self[index] for index in range(len(self._keys)))

    def __repr__(self) -> str:
        classes = "" if self.classes is None else f"{len(self.classes)} classes, "
        return f"Dataset({len(self._keys)} samples, {classes}{self._store.location})"

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The samples at ``indices``, in that order, with ids counted anew; classes stay.

        An index may come twice. Raises IndexError outside 0 to N-1.
        """
        listed = indices if isinstance(indices, np.ndarray) else list(indices)
        wanted = np.asarray(listed, np.int64 if len(listed) == 0 else None)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise OptionError("indices", f"{wanted.dtype} {list(wanted.shape)}", "a flat list of whole numbers")
        outside = wanted[(wanted < 0) | (wanted >= len(self._keys))]
        if len(outside):
            raise self._no_such_id(int(outside[0]))
        wanted = wanted.astype(np.int64)
        places: list[int] = wanted.tolist()
        return Dataset(
            self._store,
            map(self._keys.__getitem__, places),
            labels=None if self._labels is None else self._labels.take(wanted),
            sizes=None if self._sizes is None else self._sizes[wanted],
            etags=None if self._etags is None else [self._etags[place] for place in places],
            byte_ranges=None if self._byte_ranges is None else self._byte_ranges[wanted],
            columns={name: _take(column, wanted, places) for name, column in self._columns.items()},
        )

    def split(self, *fractions: float, seed: int = 0) -> tuple[Dataset, ...]:
        """One dataset a fraction: ``train, val = data.split(0.9, 0.1)``.

        A sample's part depends on its key (and byte range) and ``seed`` only: files added later move no
        other, and the same key is in the same part everywhere. So sizes are near the fractions, not exact,
        and a part of a tiny dataset may be empty. Fractions that sum to less than 1 leave samples out. Raises
        `OptionError` for fractions outside (0, 1] or that sum to more than 1.
        """
        parts = assign_parts(self._keys, self._byte_ranges, fractions, seed)
        return tuple(self.subset(np.flatnonzero(parts == part)) for part in range(len(fractions)))

    def without(self, skip: Iterable[str | int]) -> Dataset:
        """The samples that are not in ``skip``: keys (text) or ids (numbers).

        A key drops every sample of its object; a key that is not here is ignored. Raises IndexError for an
        id outside 0 to N-1.
        """
        if isinstance(skip, str):
            raise OptionError("skip", repr(skip), "a list of keys or ids")
        keys: set[str] = set()
        keep = np.ones(len(self._keys), np.bool_)
        for one in skip:
            if isinstance(one, str):
                keys.add(one)
            elif 0 <= one < len(self._keys):
                keep[one] = False
            else:
                raise self._no_such_id(one)
        if keys:
            keep &= np.fromiter((key not in keys for key in self._keys), np.bool_, len(self._keys))
        return self.subset(np.flatnonzero(keep))


def _cell(column: Column, index: int) -> Any:
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iufb":
        return column.item(index)
    return column[index]


def _take(column: Column, wanted: NDArray[np.int64], places: list[int]) -> Column:
    if isinstance(column, np.ndarray):
        return frozen(column[wanted])
    return [column[place] for place in places]
