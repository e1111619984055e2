"""The words every floor shares: samples, specs, batches, and the four protocols.

Nothing here does I/O or knows a library but numpy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np

from aioloader.redact import shown_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

ByteRange: TypeAlias = tuple[int, int]
"""Half-open: ``(start, stop)``, in bytes."""

Tree: TypeAlias = Any
"""Arrays (or specs) in nested tuples and dicts; the leaves are the fields of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    """One line of a listing. ``key`` is relative to the store; ``size_bytes`` is None where unknown."""

    key: str
    size_bytes: int | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRef:
    """Where one sample lies and what is known of it before its bytes are fetched.

    ``index`` is its id: its place in the dataset. ``label`` is what the dataset says (an int, a float, an array)
    or None. ``columns`` holds what else a manifest's row carried.
    """

    index: int
    key: str
    label: Any = None
    size_bytes: int | None = None
    etag: str | None = None
    byte_range: ByteRange | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        known = "".join(
            f", {name}={value!r}"
            for name in ("label", "size_bytes", "etag", "byte_range")
            if (value := getattr(self, name)) is not None
        )
        return f"SampleRef(index={self.index}, key={shown_key(self.key)!r}{known})"


class UpTo(int):
    """A side of a `FieldSpec`'s shape that differs from sample to sample, at most this long: ``(UpTo(512),)``."""

    def __repr__(self) -> str:
        return f"UpTo({int(self)})"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """Shape and dtype of one field of one sample, without the batch axis.

    Sides may be `UpTo`: a batch is then as long as its longest sample, the rest of the shorter ones is ``fill``. `text`
    makes a field of strings.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float = 0
    is_text: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @classmethod
    def text(cls, max_bytes: int) -> FieldSpec:
        """Strings of at most ``max_bytes`` bytes of UTF-8; in a batch a numpy array of ``str``, ``(N,)``."""
        return cls((UpTo(max_bytes),), np.dtype(np.uint8), is_text=True)

    @property
    def is_variable(self) -> bool:
        """Whether samples may differ in shape."""
        return any(isinstance(side, UpTo) for side in self.shape)

    @classmethod
    def of(cls, array: NDArray[Any]) -> FieldSpec:
        """The spec that ``array`` has."""
        return cls(tuple(array.shape), array.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of one sample's field."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"text of at most {self.shape[0]} bytes" if self.is_text else f"{self.dtype}{list(self.shape)}"


class Batch(tuple[Any, ...]):
    """One step's arrays: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``; unpacks like the tuple it is.

    Arrays have the batch axis first and are writable numpy views into a 64-byte aligned slab; the slab is
    reused once every view of it is gone. ``sample_ids`` (int64, ``(N,)``) are indices in the dataset, ``valid``
    (bool, ``(N,)``) is False where a stand-in fills the slot, ``epoch`` and ``step`` count from 0.
    """

    sample_ids: NDArray[np.int64]
    valid: NDArray[np.bool_]
    epoch: int
    step: int

    @classmethod
    def build(
        cls,
        arrays: tuple[Any, ...],
        *,
        sample_ids: NDArray[np.int64],
        valid: NDArray[np.bool_],
        epoch: int,
        step: int,
    ) -> Batch:
        """A batch of ``arrays`` with what is known about it."""
        batch = cls(arrays)
        batch.sample_ids = sample_ids
        batch.valid = valid
        batch.epoch = epoch
        batch.step = step
        return batch

    def __repr__(self) -> str:
        parts = ", ".join(_outline(part) for part in self)
        return f"Batch(epoch={self.epoch}, step={self.step}: {parts})"

    def __reduce__(self) -> tuple[Any, ...]:
        # A tuple subclass with attributes: rebuild the tuple, then set them.
        return _rebuild_batch, (tuple(self), self.sample_ids, self.valid, self.epoch, self.step)


def _outline(part: Tree) -> str:
    """Shapes and dtypes: nobody wants a batch's pixels in a log."""
    if isinstance(part, dict):
        return "{" + ", ".join(f"{name}: {_outline(value)}" for name, value in part.items()) + "}"
    if isinstance(part, tuple):
        return "(" + ", ".join(_outline(value) for value in part) + ")"
    return f"{part.dtype}{list(part.shape)}"


def _rebuild_batch(
    arrays: tuple[Any, ...], ids: NDArray[np.int64], valid: NDArray[np.bool_], epoch: int, step: int
) -> Batch:
    return Batch.build(arrays, sample_ids=ids, valid=valid, epoch=epoch, step=step)


@runtime_checkable
class Store(Protocol):
    """Objects by key. Keys are relative to the store's root, any Unicode, ``/``-separated, never escaped.

    A store is a description until first used; connections belong to the running event loop. ``aclose`` lets
    them go and may be called twice; a later call opens new ones. Errors are `aioloader.errors.StoreError`.
    """

    @property
    def location(self) -> str:
        """The root as a URL that may be printed: no user info, no query."""
        ...

    @property
    def origin(self) -> str:
        """What shares limits: ``scheme://host:port`` for remote stores, ``file://`` for disks."""
        ...

    async def get(self, key: str, byte_range: ByteRange | None = None) -> bytes:
        """All bytes of ``key``, or those of the half-open ``byte_range`` (cut at the object's end).

        Raises `ObjectNotFoundError` and its siblings. Cancelling drops the transfer and its connection.
        """
        ...

    def list(self, prefix: str = "") -> AsyncIterator[ObjectMeta]:
        """Every object whose key starts with ``prefix``, in any order, as a stream."""
        ...

    async def size(self, key: str) -> int:
        """Length of the object in bytes."""
        ...

    async def aclose(self) -> None:
        """Let go of the running loop's connections and threads; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Partial:
    """The first bytes of an answer that broke off: ``body`` begins at byte ``first`` of the object, the whole answer
    would end before byte ``stop``, and ``etag`` is the object's, a strong one."""

    body: bytes
    first: int
    stop: int
    etag: str

    def __repr__(self) -> str:
        return f"<{len(self.body)} of {self.stop - self.first} bytes>"


@runtime_checkable
class ResumableStore(Protocol):
    """A store that can be asked for the rest of an object."""

    async def get_rest(self, key: str, partial: Partial) -> bytes:
        """The whole answer of which ``partial`` came: its bytes and the rest, of the very same object.

        Raises `StoreError`: `ObjectChangedError` where the object is another one by now.
        """
        ...


@runtime_checkable
class VersionedStore(Protocol):
    """A store that gives an object only as it was listed."""

    async def get_version(self, key: str, byte_range: ByteRange | None, etag: str) -> bytes:
        """As `Store.get`, of the object that has this strong ``etag``.

        Raises `StoreError`: `ObjectChangedError` where the object is another one by now.
        """
        ...


class Asker(Protocol):
    """How a page of a listing is asked for: once, or again where it fails."""

    async def __call__(self, page: Callable[[], Awaitable[T]], /) -> T:
        """What ``page()`` gives, which may be called several times. Raises what its last call raised."""
        ...


@runtime_checkable
class PagedStore(Protocol):
    """A store whose listing goes on where a page of it failed."""

    def list_pages(self, prefix: str, asker: Asker) -> AsyncIterator[ObjectMeta]:
        """As `Store.list`, with each page asked for by ``asker``: no entry is lost or given twice."""
        ...


class InformedStore(Store, Protocol):
    """A store that takes what the dataset knows of a sample: the policies around a dataset's store are such stores."""

    async def get(self, key: str, byte_range: ByteRange | None = None, known: SampleRef | None = None) -> bytes:
        """As `Store.get`. ``known`` is the sample that lies there: its size and its ETag, where they were listed."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Bytes to arrays. Called from several threads at once.

    ``spec`` declares the fields of what ``decode`` returns (a `FieldSpec`, or a tree of them), or is None:
    then the first sample's output sets it. ``decode`` returns ``x`` (an array, or a dict of arrays) or a tuple
    ``(x, y)`` / ``(x, y, sample_weight)``. Where ``out`` is given (only to decoders that declare a spec)
    it has the spec's tree of writable arrays: a decoder that can, writes there and returns ``out``.
    """

    def spec(self) -> Tree | None:
        """Declared fields, or None to take them from the first sample."""
        ...

    def decode(self, data: bytes, sample: SampleRef, rng: np.random.Generator, out: Tree | None = None) -> Tree:
        """One sample's arrays. ``rng`` depends on (seed, epoch, sample id) only."""
        ...


Transform: TypeAlias = Callable[[Tree, np.random.Generator], Tree]
"""``transform(decoded, rng)``: called after the decoder with what it returned, in the same thread."""


class BatchStream(Iterator[Batch], Protocol):
    """One epoch's batches. Ends by StopIteration, one exception, or ``close``."""

    @property
    def epoch(self) -> int:
        """The epoch's number, from 0."""
        ...

    def close(self) -> None:
        """End it now: its requests are cancelled. Idempotent."""
        ...


class BatchSource(Protocol):
    """What `fit` and `tune` see of a loader."""

    @property
    def batch_size(self) -> int:
        """Samples of a full batch on this rank."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch on this rank; exact."""
        ...

    @property
    def next_epoch(self) -> int:
        """The number the next opened epoch gets unless another is asked for."""
        ...

    def open_epoch(self, epoch: int | None = None, *, epochs_ahead: int = 0) -> BatchStream:
        """Start (or go on into) an epoch; fetching may run into the ``epochs_ahead`` epochs after it.

        An epoch still open is replaced: its iterator raises `StreamReplacedError`.
        """
        ...
