"""Keys derived from a seed and counters: the one source of randomness, the same on every machine.

SplitMix64's finalizer over a running sum; not numpy's generators, whose streams may change between releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

PURPOSE_ORDER = 1
PURPOSE_SAMPLE = 2
PURPOSE_STAND_IN = 3
PURPOSE_ROUND = 4


def _finalize(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def derive_key(seed: int, purpose: int, *counters: int) -> int:
    """A 64-bit key; different for different ``purpose`` and ``counters``."""
    key = _finalize((seed + _GOLDEN * purpose) & _MASK)
    for counter in counters:
        key = _finalize((key + _GOLDEN * (counter + 1)) & _MASK)
    return key


def mix_array(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """``_finalize`` of every value under ``key``; uint64 in, uint64 out, wrapping."""
    mixed = values * np.uint64(_GOLDEN) + np.uint64(key)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(_FIRST)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(_SECOND)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def sample_rng(seed: int, epoch: int, sample_id: int) -> np.random.Generator:
    """The generator a decoder or transform gets for one sample; depends on these three numbers only."""
    low = derive_key(seed, PURPOSE_SAMPLE, epoch, sample_id)
    return np.random.Generator(np.random.Philox(key=low))
