"""What a loader's samples are made with, packed by the parent and unpacked in a child."""

from __future__ import annotations

import hashlib
import io
import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

import cloudpickle

from aioloader.decode.function import name_of
from aioloader.errors import OptionError
from aioloader.order.keys import sample_rng

if TYPE_CHECKING:
    import numpy as np

    from aioloader.batch.arena import Arena
    from aioloader.batch.slab import Slab
    from aioloader.decode.function import BoundDecoder
    from aioloader.engine.job import Job
    from aioloader.types import InformedStore, Transform

_numbers = count(1)


class PackedRecipe:
    """Store, decoder and transform of one loader as bytes: functions of notebooks and lambdas by their code."""

    def __init__(self, job: Job) -> None:
        """Raises `OptionError` naming what cannot be sent to another process."""
        self.number = next(_numbers)
        self.seed = job.order.seed
        parts: dict[str, Any] = {"data": job.store, "decode": job.decoder, "transform": job.transform}
        for option, part in parts.items():
            try:
                cloudpickle.dumps(part)
            except Exception as exc:
                raise OptionError(
                    option,
                    repr(part) if option == "data" else name_of(part),
                    f"something that can be sent to a worker process ({type(exc).__name__}: {exc}); "
                    "open files, locks and connections inside the function, or use_multiprocessing=False",
                ) from exc
        self.payload = cloudpickle.dumps(tuple(parts.values()))
        self._code = _fingerprint(job)

    def is_of(self, job: Job) -> bool:
        """Whether decoder and transform are still what was packed. Takes as long as packing them."""
        try:
            return _fingerprint(job) == self._code
        except Exception:  # by now they cannot be packed
            return False


class _Hashed:
    """A file of which only a hash is kept: a decoder may have hundreds of MB."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)

    def write(self, data: bytes | pickle.PickleBuffer) -> int:  # large arrays come as they lie in memory
        self.hash.update(data)
        return memoryview(data).nbytes


def _fingerprint(job: Job) -> bytes:
    file = _Hashed()
    cloudpickle.Pickler(file).dump((job.decoder, job.transform))
    return file.hash.digest()


class ChildWorkspace:
    """The fields as the parent made them known, and its slabs."""

    def __init__(self) -> None:
        self.arena: Arena | None = None
        self.is_declared = False
        self.first_key: str | None = None
        self.decoder_fills_all = False
        self._slabs: dict[int, Slab] = {}

    def know(self, arena: Arena, *, is_declared: bool, first_key: str | None, decoder_fills_all: bool) -> None:
        """From now on samples may be written."""
        self.is_declared = is_declared
        self.first_key = first_key
        self.decoder_fills_all = decoder_fills_all
        self._slabs.clear()
        self.arena = arena

    def slab(self, number: int) -> Slab:
        """Slab ``number`` of the loader."""
        slab = self._slabs.get(number)
        if slab is None:
            assert self.arena is not None
            slab = self._slabs[number] = self.arena.slab(number)
        return slab


class ChildRecipe:
    """One loader's recipe in a child."""

    def __init__(self, payload: bytes, seed: int) -> None:
        """Raises whatever importing and unpickling the user's code raises."""
        self.store: InformedStore
        self.decoder: BoundDecoder
        self.transform: Transform | None
        self.store, self.decoder, self.transform = pickle.load(io.BytesIO(payload))
        self.seed = seed
        self.workspace = ChildWorkspace()

    def rng(self, epoch: int, sample_id: int) -> np.random.Generator | None:
        """The sample's generator, the same as in any other process; None where nobody draws from it."""
        if not self.decoder.needs_rng and self.transform is None:
            return None
        return sample_rng(self.seed, epoch, sample_id)
