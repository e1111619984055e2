"""The order of an epoch: position to sample id, for any run of positions.

Up to `SMALL` samples the permutation is one small array: ids sorted by random 64-bit keys (uniform: a tie, broken by
index, has probability n²/2⁶⁵). Above, it is computed: a balanced Feistel network with cycle walking, O(1) memory and
O(1) access, so that 10⁹ samples cost no array. Feistel is not uniform over small n, hence the two.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from aioloader.order.keys import PURPOSE_ORDER, PURPOSE_ROUND, derive_key, mix_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 65_536
_ROUNDS = 8
_EPOCHS_KEPT = 2  # the one being read and the one look-ahead has entered


def small_permutation(n: int, key: int) -> NDArray[np.int64]:
    """All ``n`` ids in the order of ``key``; int64 ``(n,)``."""
    random_keys = mix_array(np.arange(n, dtype=np.uint64), key)
    return np.argsort(random_keys, kind="stable").astype(np.int64, copy=False)


def feistel_ids(n: int, key: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ids at ``positions`` (each in [0, n)) of a pseudo-random permutation of n; same shape, int64."""
    half_bits = (max(n - 1, 1).bit_length() + 1) // 2
    mask = np.uint64((1 << half_bits) - 1)
    shift = np.uint64(half_bits)
    round_keys = [derive_key(key, PURPOSE_ROUND, index) for index in range(_ROUNDS)]

    def encrypt(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> shift, values & mask
        for round_key in round_keys:
            left, right = right, left ^ (mix_array(right, round_key) & mask)
        return (left << shift) | right

    ids = encrypt(positions.astype(np.uint64))
    # The domain is at most 4n: walk the cycle of every value that fell outside until it is inside.
    while (outside := ids >= np.uint64(n)).any():
        ids[outside] = encrypt(ids[outside])
    return ids.astype(np.int64)


class EpochOrder:
    """Position to sample id for every epoch; a pure function of (n, seed, epoch). Thread-safe."""

    def __init__(self, n_samples: int, *, seed: int, shuffle: bool) -> None:
        self.n_samples = n_samples
        self.seed = seed
        self.shuffle = shuffle
        self._kept: OrderedDict[int, NDArray[np.int64]] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self, epoch: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sample ids at global ``positions`` (int64, each in [0, n_samples)) of ``epoch``."""
        if not self.shuffle:
            return positions.copy()
        key = derive_key(self.seed, PURPOSE_ORDER, epoch)
        if self.n_samples > SMALL:
            return feistel_ids(self.n_samples, key, positions)
        with self._lock:
            permutation = self._kept.get(epoch)
            if permutation is None:
                permutation = self._kept[epoch] = small_permutation(self.n_samples, key)
                while len(self._kept) > _EPOCHS_KEPT:
                    self._kept.popitem(last=False)
        return permutation[positions]
