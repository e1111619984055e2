"""What parent and child say to each other: frames on a socket.

Parent to child the payload is a pickle. Child to parent it is a fixed record of numbers, or JSON: user code runs in the
child, so nothing it sends is ever unpickled.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_HEADER = struct.Struct("<IB")
_DONE = struct.Struct("<IIII")
_STREAM = struct.Struct("<I")
_DONE_ITEM_BYTES = 8 + 4 + 4 + 8


class ToChild(IntEnum):
    """Frames that the parent sends."""

    LIMITS = 1
    JOB = 2
    FIELDS = 3
    STREAM = 4
    RUN = 5
    PLACES = 6
    SLAB = 7
    PROBE = 8
    END = 9
    FORGET = 10
    COMPARE = 11


class ToParent(IntEnum):
    """Frames that a child sends."""

    UP = 1
    UNLOADABLE = 2
    SPEC = 3
    ARRIVED = 4
    DONE = 5
    FAILED = 6
    BROKEN = 7
    ENDED = 8
    SPANS = 9
    COMPARED = 10


def frame(kind: int, payload: bytes) -> bytes:
    """One frame: length of the payload, kind, payload."""
    return _HEADER.pack(len(payload), kind) + payload


def pickled(message: object) -> bytes:
    """A payload from parent to child."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def in_json(message: object) -> bytes:
    """A payload from child to parent that is not on the hot path."""
    return json.dumps(message).encode()


@dataclass(frozen=True, slots=True)
class Done:
    """Slots of one stream that a child has filled, with what each sample took."""

    stream: int
    in_flight: int
    in_flight_peak: int
    tickets: NDArray[np.int64]
    fetch_s: NDArray[np.float32]
    decode_s: NDArray[np.float32]
    nbytes: NDArray[np.int64]

    def pack(self) -> bytes:
        """As a payload."""
        return b"".join(
            (
                _DONE.pack(self.stream, len(self.tickets), self.in_flight, self.in_flight_peak),
                self.tickets.tobytes(),
                self.nbytes.tobytes(),
                self.fetch_s.tobytes(),
                self.decode_s.tobytes(),
            )
        )

    @classmethod
    def of(
        cls, stream: int, in_flight: int, in_flight_peak: int, rows: Sequence[tuple[int, float, float, int]]
    ) -> Done:
        """From rows of (ticket, fetch_s, decode_s, nbytes)."""
        tickets, fetch_s, decode_s, nbytes = zip(*rows, strict=True)
        return cls(
            stream,
            in_flight,
            in_flight_peak,
            np.array(tickets, np.int64),
            np.array(fetch_s, np.float32),
            np.array(decode_s, np.float32),
            np.array(nbytes, np.int64),
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Done:
        """From a payload; ValueError where its length is not what its header says."""
        if len(payload) < _DONE.size:
            raise ValueError(f"a record of {len(payload)} bytes")
        stream, count, in_flight, peak = _DONE.unpack_from(payload)
        if len(payload) != _DONE.size + count * _DONE_ITEM_BYTES:
            raise ValueError(f"a record of {count} samples takes {len(payload)} bytes")
        place = _DONE.size
        tickets = np.frombuffer(payload, np.int64, count, place)
        place += 8 * count
        nbytes = np.frombuffer(payload, np.int64, count, place)
        place += 8 * count
        fetch_s = np.frombuffer(payload, np.float32, count, place)
        decode_s = np.frombuffer(payload, np.float32, count, place + 4 * count)
        return cls(stream, in_flight, peak, tickets, fetch_s, decode_s, nbytes)


def pack_arrived(stream: int, tickets: Sequence[int]) -> bytes:
    """The payload of `ToParent.ARRIVED`."""
    return _STREAM.pack(stream) + np.array(tickets, np.int64).tobytes()


def unpack_arrived(payload: bytes) -> tuple[int, list[int]]:
    """The stream and its tickets; ValueError where the payload is cut."""
    if len(payload) < _STREAM.size:
        raise ValueError(f"arrivals of {len(payload)} bytes")
    (stream,) = _STREAM.unpack_from(payload)
    return stream, np.frombuffer(payload, np.int64, offset=_STREAM.size).tolist()


class Frames(asyncio.Protocol):
    """One end of the socket: calls ``on_frame(kind, payload)`` for each frame, ``on_end()`` once when it is over."""

    def __init__(
        self, on_frame: Callable[[int, bytes], None], on_end: Callable[[], None], longest: int | None = None
    ) -> None:
        """A frame of more than ``longest`` bytes is given as one of kind 0, and nothing after it is read."""
        self._on_frame = on_frame
        self._on_end = on_end
        self._longest = longest
        self._is_spoilt = False
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is no subclass

    def data_received(self, data: bytes) -> None:
        """Cut what came into frames."""
        if self._is_spoilt:
            return
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(received, start)
            if self._longest is not None and length > self._longest:
                self._is_spoilt = True
                self._on_frame(0, b"")
                return
            stop = start + _HEADER.size + length
            if len(received) < stop:
                break
            payload = bytes(received[start + _HEADER.size : stop])
            start = stop
            self._on_frame(kind, payload)
        if start:
            del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has ended, or we closed."""
        self._transport = None
        self._on_end()

    def send(self, kind: int, payload: bytes) -> None:
        """Send one frame; on the loop. Lost where the other side has ended: the end is told apart."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(kind, payload))

    def close(self) -> None:
        """Send what is buffered, then end."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()


def as_dict(payload: bytes) -> dict[str, Any]:
    """JSON from a child; ValueError where it is none."""
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise ValueError(f"a {type(message).__name__} where an object was expected")  # noqa: TRY004 - it is data, not a type of ours
    return message
