"""What makes a dataset, or one sample of it, the same again: fingerprints, and parts by hashed key.

Pure functions without I/O; the same bytes give the same digest in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import numpy as np

from aioloader.errors import OptionError
from aioloader.storage.stable_key import stable_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aioloader.dataset.labels import Labels

_SUM_SLACK = 1e-9


def fingerprint_parts(
    location: str,
    keys: Sequence[str],
    *,
    labels: Labels | None,
    sizes: NDArray[np.int64] | None,
    etags: Sequence[str | None] | None,
    byte_ranges: NDArray[np.int64] | None,
) -> dict[str, str]:
    """A digest for each thing that can change; ``""`` where nothing is known of it.

    Keys count in their order, which is what sample ids mean. Columns that a manifest carries along do not
    count. ``location`` is printable by the store's contract; everything else is hashed.
    """
    return {
        "location": location,
        "samples": str(len(keys)),
        "keys": _digest_texts([stable_key(key) for key in keys]),
        "byte_ranges": _digest_array(byte_ranges),
        "labels": "" if labels is None else f"{labels.mode}:{_digest_array(labels.values)}",
        "classes": "" if labels is None or labels.classes is None else _digest_texts(labels.classes),
        "sizes": _digest_array(sizes),
        "etags": "" if etags is None else _digest_texts([etag or "" for etag in etags]),
    }


def fingerprint(parts: dict[str, str]) -> str:
    """One digest of all parts: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def assign_parts(
    keys: Sequence[str],
    byte_ranges: NDArray[np.int64] | None,
    fractions: Sequence[float],
    seed: int,
) -> NDArray[np.int64]:
    """The part of every sample, int64 ``(N,)``; -1 for none where the fractions sum to less than 1.

    A sample's part depends on its key (and byte range), ``seed`` and the fractions, on nothing else.
    """
    bounds = np.cumsum(_checked_fractions(fractions))
    if bounds[-1] > 1 - _SUM_SLACK:
        bounds[-1] = 1.0
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise OptionError("seed", repr(seed), "a whole number")
    salt = hashlib.blake2b(str(int(seed)).encode(), digest_size=32).digest()
    salted = hashlib.blake2b(digest_size=8, key=salt)
    digests = bytearray()
    for position, key in enumerate(keys):
        one = salted.copy()
        one.update(stable_key(key).encode("utf-8", "surrogatepass"))
        if byte_ranges is not None and byte_ranges[position, 0] >= 0:
            one.update(b"\0%d-%d" % tuple(byte_ranges[position].tolist()))
        digests += one.digest()
    # The top 53 bits: exact in a float64 and always below 1, where all 64 could round up to it.
    shares = (np.frombuffer(bytes(digests), "<u8") >> np.uint64(11)) * 2.0**-53
    parts = np.searchsorted(bounds, shares, side="right")
    parts[parts == len(bounds)] = -1
    return parts.astype(np.int64)


def _checked_fractions(fractions: Sequence[float]) -> list[float]:
    for fraction in fractions:
        number: object = fraction  # callers are not always type-checked
        if isinstance(number, bool) or not isinstance(number, (int, float, np.number)) or not 0 < number <= 1:
            raise OptionError("fractions", repr(tuple(fractions)), "numbers above 0 and up to 1")
    if not fractions or math.fsum(fractions) > 1 + _SUM_SLACK:
        raise OptionError("fractions", repr(tuple(fractions)), "one or more fractions that sum to at most 1")
    return [float(fraction) for fraction in fractions]


def _digest_texts(texts: Sequence[str]) -> str:
    # Lengths are hashed too: a separator alone could stand inside a text.
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass"))
    digest.update(np.fromiter(map(len, texts), "<i8", len(texts)).tobytes())
    return digest.hexdigest()[:32]


def _digest_array(array: NDArray[np.generic] | None) -> str:
    if array is None:
        return ""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{little.dtype.str}{little.shape}".encode() + little.tobytes()).hexdigest()[:32]
