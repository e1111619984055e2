"""`Row` and `Competitor`: what a question is made of. The questions themselves are in ``benchmarks/rows/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peers.aioloader import variants as aioloader
from peers.grain import variants as grain
from peers.keras_pydataset import variants as keras_pydataset
from peers.references import variants as references
from peers.spdl import variants as spdl
from peers.tf_data import variants as tf_data
from peers.torch import variants as torch

if TYPE_CHECKING:
    from race.objects import Objects

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
REQUEST_HEADROOM = 1.4
OURS = "aioloader"


@dataclass(frozen=True, kw_only=True)
class Competitor:
    """Who runs: ``name`` as it is shown, the ``peer`` folder whose loader it is, and the option sets to try.

    ``group`` is the decoder by which it is compared; ``most`` samples at most, for one that would take minutes.
    """

    name: str
    peer: str
    decoder: str
    group: str
    variants: list[dict[str, Any]]
    is_reference: bool = False
    most: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is aioloader, in whichever way."""
        return self.name.startswith(OURS)

    @property
    def key(self) -> str:
        """Unique in a row."""
        return f"{self.name} [{self.decoder}]"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One question: these objects, from there, by everyone.

    ``latency_s`` is the bucket's, None for the local disk. ``expected_per_s`` is about the most that anyone will
    reach: latency times it is the number of requests that everyone is given in flight. ``headline`` is the figure of
    an `Outcome` by which loaders are ordered and compared.
    """

    letter: str
    title: str
    objects: Objects
    latency_s: float | None
    count: int
    quick_count: int
    batch_size: int
    expected_per_s: int
    decoders: tuple[str, ...]
    through_fit: bool = False
    extra: tuple[Competitor, ...] = ()
    headline: str = "samples_per_s"

    @property
    def is_remote(self) -> bool:
        """Whether there is a bucket."""
        return self.latency_s is not None

    @property
    def requests(self) -> int:
        """Requests in flight for all but aioloader, which finds its own: a power of two."""
        if self.latency_s is None:
            return 1
        needed = self.expected_per_s * self.latency_s * REQUEST_HEADROOM
        return max(32, 1 << int(needed).bit_length())

    def competitors(self) -> list[Competitor]:
        """Everyone, the references last."""
        everyone: list[Competitor] = []
        for decoder in self.decoders:
            everyone += self._loaders(decoder)
        everyone += self.extra
        for decoder in self.decoders:
            everyone += self._references(decoder)
        return everyone

    def _loaders(self, decoder: str) -> list[Competitor]:
        common = {"decoder": decoder, "group": decoder}
        needs = (CORES, self.requests, self.batch_size)
        remote = self.is_remote
        keras_by = [keras_pydataset.variants(*needs, is_remote=remote, use_multiprocessing=by) for by in (False, True)]
        return [
            Competitor(
                name=f"{OURS}-threads",
                peer="aioloader",
                variants=aioloader.variants(use_multiprocessing=False),
                **common,
            ),
            Competitor(
                name=f"{OURS}-processes",
                peer="aioloader",
                variants=aioloader.variants(use_multiprocessing=True),
                **common,
            ),
            Competitor(name="spdl", peer="spdl", variants=spdl.variants(*needs, is_remote=remote), **common),
            Competitor(name="torch", peer="torch", variants=torch.variants(*needs, is_remote=remote), **common),
            Competitor(name="grain", peer="grain", variants=grain.variants(*needs, is_remote=remote), **common),
            Competitor(name="pydataset-threads", peer="keras_pydataset", variants=keras_by[0], **common),
            Competitor(name="pydataset-processes", peer="keras_pydataset", variants=keras_by[1], **common),
            Competitor(name="tf.data", peer="tf_data", variants=tf_data.variants(*needs, is_remote=remote), **common),
        ]

    def _references(self, decoder: str) -> list[Competitor]:
        lines: dict[str, list[dict[str, Any]]] = {}
        if decoder != "none":
            lines["decode, all cores"] = references.decode(CORES)
            lines["decode, one core"] = references.decode(1)
        found = [reference(name, decoder, options) for name, options in lines.items()]
        found.append(reference("bare", decoder, references.bare(self.requests)))
        if decoder == self.decoders[0]:
            shared: dict[str, list[dict[str, Any]]] = {}
            if self.is_remote:
                shared["aiohttp, one process"] = references.fetch("aiohttp", 1, self.requests)
                shared[f"aiohttp, {CORES} processes"] = references.fetch("aiohttp", CORES, self.requests)
                shared["protocol, one process"] = references.fetch("protocol", 1, self.requests)
            if self.through_fit:
                shared["model alone"] = references.model()
            found += [reference(name, "none", options) for name, options in shared.items()]
        return found


def ours(name: str, decoder: str, **options: Any) -> Competitor:
    """aioloader in another way than its default."""
    return Competitor(
        name=f"{OURS}-{name}", peer="aioloader", decoder=decoder, group=decoder, variants=aioloader.variants(**options)
    )


def reference(name: str, decoder: str, variants: list[dict[str, Any]]) -> Competitor:
    """A reference line."""
    return Competitor(
        name=name, peer="references", decoder=decoder, group=decoder, variants=variants, is_reference=True
    )


def cpp_tf_data(row_needs: tuple[int, int, int], *, is_remote: bool, group: str = "fast") -> Competitor:
    """tf.data with TensorFlow's own decoder, which nobody else can use; compared with the fast ones."""
    options = tf_data.variants(*row_needs, is_remote=is_remote)
    return Competitor(name="tf.data C++", peer="tf_data", decoder="tf", group=group, variants=options)
