"""Frames however the socket cuts them, and records that come back as they went."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.engine.processes.wire import (
    Done,
    Frames,
    as_dict,
    frame,
    in_json,
    pack_arrived,
    pickled,
    unpack_arrived,
)

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=20)
TICKETS = st.lists(st.integers(0, 2**62), max_size=40)


@given(frames=FRAMES, data=st.data())
def test_frames_come_out_whole_and_in_order_however_they_are_cut(
    frames: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    found: list[tuple[int, bytes]] = []
    receiver = Frames(lambda kind, payload: found.append((kind, payload)), lambda: None)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        receiver.data_received(stream[:size])
        stream = stream[size:]
    assert found == frames


def test_the_end_of_the_socket_is_heard_once_and_sending_after_it_is_lost() -> None:
    async def talk() -> tuple[list[tuple[int, bytes]], int]:
        ours, theirs = socket.socketpair()
        found: list[tuple[int, bytes]] = []
        ended = asyncio.Event()
        ends = 0

        def end() -> None:
            nonlocal ends
            ends += 1
            ended.set()

        receiver = Frames(lambda kind, payload: found.append((kind, payload)), end)
        sender = Frames(lambda kind, payload: None, lambda: None)
        sender.send(1, b"before there is a socket")
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: receiver, ours)
        await loop.connect_accepted_socket(lambda: sender, theirs)
        sender.send(3, b"x" * 1_000_000)
        sender.close()
        sender.send(4, b"too late")
        await ended.wait()
        receiver.abort()
        receiver.close()
        receiver.send(5, b"nobody is there")
        await asyncio.sleep(0)
        return found, ends

    assert asyncio.run(talk()) == ([(3, b"x" * 1_000_000)], 1)


ROWS = st.lists(
    st.tuples(st.integers(0, 2**62), st.floats(0, 1e6, width=32), st.floats(0, 1e6, width=32), st.integers(0, 2**62)),
    min_size=1,
    max_size=40,
)


@given(rows=ROWS, stream=st.integers(0, 2**32 - 1), in_flight=st.integers(0, 1000))
def test_a_record_of_filled_slots_comes_back_as_it_went(
    rows: list[tuple[int, float, float, int]], stream: int, in_flight: int
) -> None:
    found = Done.unpack(Done.of(stream, in_flight, in_flight + 1, rows).pack())
    assert (found.stream, found.in_flight, found.in_flight_peak) == (stream, in_flight, in_flight + 1)
    columns = (found.tickets, found.fetch_s, found.decode_s, found.nbytes)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == rows
    assert [column.dtype for column in columns] == [np.int64, np.float32, np.float32, np.int64]


@given(cut=st.integers(-30, 30).filter(bool))
def test_a_record_of_another_length_than_it_says_is_refused(cut: int) -> None:
    payload = Done.of(1, 2, 3, [(4, 0.5, 0.25, 6), (5, 0.5, 0.25, 6)]).pack()
    with pytest.raises(ValueError, match="a record of 2 samples takes"):
        Done.unpack(payload[:cut] if cut < 0 else payload + bytes(cut))


@given(tickets=TICKETS, stream=st.integers(0, 2**32 - 1))
def test_arrivals_come_back_as_they_went(tickets: list[int], stream: int) -> None:
    assert unpack_arrived(pack_arrived(stream, tickets)) == (stream, tickets)


def test_a_cut_arrival_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of"):
        unpack_arrived(pack_arrived(1, [2, 3])[:-1])


@given(payload=st.binary(max_size=60))
def test_garbage_from_a_child_is_a_value_error_and_nothing_else(payload: bytes) -> None:
    for unpack in (unpack_arrived, as_dict, Done.unpack):
        with suppress(ValueError):
            unpack(payload)


def test_json_of_another_kind_than_an_object_or_a_pickle_is_refused() -> None:
    assert as_dict(in_json({"a": [1, None, "ü"]})) == {"a": [1, None, "ü"]}
    for payload in (in_json([1, 2]), in_json("text"), pickled({"a": 1})):
        with pytest.raises(ValueError):  # noqa: PT011 - of whatever the decoding says
            as_dict(payload)
