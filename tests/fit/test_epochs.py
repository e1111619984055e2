"""The state machine of probes and epochs, driven in the order in which each Keras backend drives it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.errors import InvariantError, OptionError, StreamReplacedError
from aioloader.fit.epochs import Turn, epochs_of, keras_epochs_per_epoch
from aioloader.fit.frames import KerasCall

if TYPE_CHECKING:
    from aioloader.fit.epochs import EpochPass
    from tests.fit.conftest import Place, RecordingSource

Sources = Callable[..., "RecordingSource"]
Places = Callable[[list[int], int], list["Place"]]


def pull(one_pass: EpochPass, count: int) -> list[Place]:
    batches = [next(one_pass) for _ in range(count)]
    return [(batch.epoch, batch.step) for batch in batches]


def train(turn: Turn, steps: int) -> list[Place]:
    """One epoch as Keras goes through it: all steps, then an iterator it throws away, then the hook."""
    seen = pull(turn.new_pass(), steps)
    turn.new_pass()
    turn.end_of_epoch()
    return seen


@dataclass(frozen=True)
class Probe:
    """What a backend pulls before ``reset``, for epochs of ``steps`` batches."""

    id: str
    pulls: Callable[[int], int]


PROBES = [
    Probe("TensorFlow looks at nothing", lambda steps: 0),
    Probe("torch and JAX on CPU look at one batch", lambda steps: 1),
    Probe("JAX on a GPU looks at two", lambda steps: min(2, steps)),
]


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.id)
def test_a_probe_gives_its_batches_back(probe: Probe, steps: int, source_of: Sources, places: Places) -> None:
    source = source_of(steps_per_epoch=steps)
    seen: list[Place] = []
    for _ in range(2):
        turn = Turn(source, KerasCall(method="fit", epochs=2))
        if probe.pulls(steps):
            pull(turn.new_pass(), probe.pulls(steps))
        turn.reset()
        seen += train(turn, steps) + train(turn, steps)
    assert seen == places([0, 1, 2, 3], steps)
    assert source.pulled == places([0, 1, 2, 3], steps)
    assert source.epochs == [0, 1, 2, 3]
    assert source.ahead == [1, 0, 1, 0]


def test_a_second_look_sees_the_same_batches(source_of: Sources, places: Places) -> None:
    source = source_of(steps_per_epoch=3)
    turn = Turn(source, KerasCall(method="fit"))
    assert pull(turn.new_pass(), 2) == pull(turn.new_pass(), 2) == [(0, 0), (0, 1)]
    turn.reset()
    assert train(turn, 3) == places([0], 3)


def test_the_iterator_of_a_probe_gives_nothing_after_the_epoch_went_on_in_another(source_of: Sources) -> None:
    turn = Turn(source_of(), KerasCall(method="fit"))
    look = turn.new_pass()
    pull(look, 1)
    turn.reset()
    pull(turn.new_pass(), 1)
    with pytest.raises(StreamReplacedError, match="epoch 0 goes on in another iterator"):
        next(look)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_predict_which_never_resets_is_an_epoch_and_no_probe(steps: int, source_of: Sources) -> None:
    source = source_of(steps_per_epoch=steps)
    turn = Turn(source, KerasCall(method="predict"))
    assert [epoch for epoch, _ in train(turn, steps)] == [0] * steps
    turn.reset()
    assert [epoch for epoch, _ in train(turn, steps)] == [1] * steps


def test_a_long_predict_keeps_two_batches_at_most(source_of: Sources) -> None:
    turn = Turn(source_of(steps_per_epoch=5), KerasCall(method="predict"))
    one_pass = turn.new_pass()
    first = weakref.ref(next(one_pass)[0])
    next(one_pass)
    assert first() is not None
    next(one_pass)
    assert first() is None


def test_validation_opens_an_epoch_of_its_own_each_time_and_fetches_nothing_ahead(source_of: Sources) -> None:
    source = source_of(steps_per_epoch=2)
    turn = Turn(source, KerasCall(method="validation", epochs=9))
    for _ in range(3):
        turn.reset()
        train(turn, 2)
    assert (source.epochs, source.ahead) == ([0, 1, 2], [0, 0, 0])


@dataclass(frozen=True)
class InitialEpoch:
    id: str
    next_epoch: int
    initial_epoch: int
    opened: list[int]
    asked: list[int | None]
    ahead: list[int]


@pytest.mark.parametrize(
    "case",
    [
        InitialEpoch("a fresh process goes on in the order of that epoch", 0, 3, [3, 4], [3, None], [1, 0]),
        InitialEpoch("the same process goes on", 3, 3, [3, 4], [None, None], [1, 0]),
        InitialEpoch("an order that was trained on is not repeated", 7, 3, [7, 8], [None, None], [1, 0]),
    ],
    ids=lambda case: case.id,
)
@pytest.mark.parametrize("looks", [0, 1])
def test_initial_epoch(case: InitialEpoch, looks: int, source_of: Sources) -> None:
    source = source_of(next_epoch=case.next_epoch)
    turn = Turn(source, KerasCall(method="fit", epochs=5, initial_epoch=case.initial_epoch))
    if looks:
        pull(turn.new_pass(), looks)
    turn.reset()
    train(turn, 3)
    train(turn, 3)
    assert source.epochs == case.opened
    assert [opened.asked for opened in source.opened] == case.asked
    assert source.ahead == case.ahead


@pytest.mark.parametrize("looks", [0, 1])
def test_an_initial_epoch_restored_after_the_probe_still_counts(looks: int, source_of: Sources) -> None:
    class Model:
        _initial_epoch: int | None = None

    model = Model()
    source = source_of()
    turn = Turn(source, KerasCall(method="fit", epochs=5, model=weakref.ref(model)))
    if looks:
        pull(turn.new_pass(), looks)
    turn.reset()
    model._initial_epoch = 3
    assert train(turn, 3) == [(3, 0), (3, 1), (3, 2)]
    assert train(turn, 3)[0] == (4, 0)
    assert source.ahead[looks:] == [1, 0]
    assert source.states.count("open") == 0


def test_a_pass_that_never_asks_opens_nothing(source_of: Sources) -> None:
    source = source_of()
    turn = Turn(source, KerasCall(method="fit"))
    turn.new_pass()
    turn.reset()
    turn.new_pass()
    assert source.opened == []


def test_an_unfinished_epoch_is_closed_before_the_next_is_opened(source_of: Sources) -> None:
    source = source_of()
    turn = Turn(source, KerasCall(method="validation"))
    turn.reset()
    held = turn.new_pass()
    pull(held, 1)
    pull(turn.new_pass(), 1)
    assert source.epochs == [0, 1]
    assert source.states == ["closed", "open"]


def test_closing_a_turn_between_epochs_leaves_what_was_fetched_ahead_to_the_next(source_of: Sources) -> None:
    source = source_of()
    turn = Turn(source, KerasCall(method="fit", epochs=2))
    turn.reset()
    train(turn, 3)
    stream = source.streams[0]()
    assert stream is not None
    turn.close()
    assert stream.state == "ended"


def test_the_end_of_a_stream_is_heard_with_its_last_batch(source_of: Sources) -> None:
    source = source_of(steps_per_epoch=2)
    turn = Turn(source, KerasCall(method="fit"))
    turn.reset()
    one_pass = turn.new_pass()
    pull(one_pass, 1)
    assert source.states == ["open"]
    pull(one_pass, 1)
    assert source.states == ["ended"]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(one_pass)


@pytest.mark.parametrize(("surplus", "message"), [(-1, "ended after 2 of 3"), (1, "more than its 3")])
def test_an_epoch_of_another_length_is_an_error(surplus: int, message: str, source_of: Sources) -> None:
    source = source_of(surplus_batches=surplus)
    turn = Turn(source, KerasCall(method="fit"))
    one_pass = turn.new_pass()
    pull(one_pass, 2)
    with pytest.raises(InvariantError, match=message):
        next(one_pass)


@pytest.mark.parametrize("error", [OSError("broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_error_ends_the_stream(error: BaseException, source_of: Sources) -> None:
    def interrupt(place: Place) -> None:
        if place == (0, 1):
            raise error

    source = source_of(before_batch=interrupt)
    turn = Turn(source, KerasCall(method="fit"))
    turn.reset()
    one_pass = turn.new_pass()
    pull(one_pass, 1)
    with pytest.raises(type(error)) as caught:
        next(one_pass)
    assert caught.value is error
    assert source.states == ["closed"]


def test_an_epoch_without_a_batch_is_refused_by_name(source_of: Sources) -> None:
    with pytest.raises(OptionError, match="batch_size=2: expected at most the number of samples"):
        Turn(source_of(steps_per_epoch=0), KerasCall())


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_an_unknown_keras_gets_a_first_look_again(steps: int, source_of: Sources, places: Places) -> None:
    source = source_of(steps_per_epoch=steps)
    turn = Turn(source, KerasCall(), guess=True)
    look = min(2, steps - 1)
    pull(turn.new_pass(), look)
    seen = pull(turn.new_pass(), steps) + pull(turn.new_pass(), steps)
    assert seen == places([0, 1], steps)
    assert source.epochs == [0, 1]


def test_an_unknown_keras_goes_on_to_the_next_epoch_even_with_one_batch(source_of: Sources) -> None:
    turn = Turn(source_of(steps_per_epoch=1), KerasCall(), guess=True)
    assert pull(turn.new_pass(), 1) + pull(turn.new_pass(), 1) == [(0, 0), (1, 0)]


def keras_steps(steps: int, steps_per_epoch: int | None, steps_per_execution: int, epochs: int) -> int:
    """How many iterators Keras' ``_enumerate_iterator`` reads over ``epochs``: its loop, written again."""
    iterators, seen, reading = 0, 0, False
    for _ in range(epochs):
        if not reading or steps_per_epoch is None:
            seen, reading = 0, True
        for _ in range(0, steps_per_epoch or steps, steps_per_execution):
            if seen >= steps:
                break
            iterators += seen == 0
            seen += steps_per_execution
        if seen >= steps:
            seen = 0
    return iterators


@given(
    steps=st.integers(1, 12),
    steps_per_epoch=st.none() | st.integers(1, 15),
    steps_per_execution=st.integers(1, 4),
    epochs=st.integers(0, 9),
)
def test_epochs_are_counted_as_keras_reads_them(
    steps: int, steps_per_epoch: int | None, steps_per_execution: int, epochs: int
) -> None:
    call = KerasCall(
        method="fit",
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        steps_per_execution=steps_per_execution,
    )
    assert epochs_of(call, steps) == keras_steps(steps, steps_per_epoch, steps_per_execution, epochs)
    assert keras_epochs_per_epoch(call, steps) >= 1
