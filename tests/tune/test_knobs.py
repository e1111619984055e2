"""Every knob: refused with its name where it cannot work, kept where it was given, chosen where it was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioloader.errors import OptionError
from aioloader.tune import knobs as tune_knobs
from aioloader.tune.knobs import LOCAL_CONCURRENCY, Knobs, describe, fixed_knobs, resolve, settings_of
from aioloader.tune.queue import START

NAN, INF = float("nan"), float("inf")


def make(**changed: Any) -> Knobs:
    options: dict[str, Any] = {
        "batch_size": 32,
        "concurrency": "auto",
        "workers": "auto",
        "use_multiprocessing": "auto",
        "max_queue_size": "auto",
        "order": "strict",
        "on_error": "raise",
        "max_error_rate": 0.01,
        "max_memory": "auto",
        "stall_timeout_s": 120.0,
        "close_timeout_s": 5.0,
    }
    return Knobs(**(options | changed))


@dataclass(frozen=True)
class Refused:
    option: str
    values: list[Any]
    expected: str


WHOLE = "a whole number of at least 1"
NO_COUNTS = [0, -1, 1.0, 2.5, "2", True, None, NAN, [1]]
REFUSED = [
    Refused("batch_size", [*NO_COUNTS, "auto"], WHOLE),
    Refused("concurrency", [*NO_COUNTS, "Auto"], WHOLE + ' or "auto"'),
    Refused("workers", NO_COUNTS, WHOLE + ' or "auto"'),
    Refused("max_queue_size", NO_COUNTS, WHOLE + ' or "auto"'),
    Refused("use_multiprocessing", [1, 0, 1.0, None, "yes", "True", []], 'True, False or "auto"'),
    Refused("order", ["Strict", "", None, True, ["strict"], {}], '"strict"'),
    Refused("on_error", ["ignore", "", None, True, ["skip"]], '"raise" or "skip"'),
    Refused("max_error_rate", [-0.1, 1.1, NAN, INF, "0.1", None, True, [0.1]], "a share from 0 to 1"),
    Refused("stall_timeout_s", [0, -1, NAN, INF, 1e30, "2", None, True], "a finite number of seconds, more than 0"),
    Refused("close_timeout_s", [0, -1, NAN, INF, 1e30, "2", None, True], "a finite number of seconds, more than 0"),
]
ONE_BY_ONE = [(case.option, value, case.expected) for case in REFUSED for value in case.values]


@pytest.mark.parametrize(("option", "value", "expected"), ONE_BY_ONE, ids=lambda part: repr(part)[:30])
def test_a_value_that_cannot_work_is_refused_by_name(option: str, value: Any, expected: str) -> None:
    with pytest.raises(OptionError) as caught:
        make(**{option: value})
    assert caught.value.option == option
    assert str(caught.value).startswith(f"{option}={value!r}: expected ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("value", [-1, "2 apples", "", None, True, NAN, "auto "], ids=repr)
def test_a_memory_that_is_no_size_is_refused_by_name(value: Any) -> None:
    with pytest.raises(OptionError, match=r"^max_memory=.*: expected bytes"):
        resolve(make(max_memory=value), found_concurrency=64)


@given(
    batch_size=st.integers(1, 10_000),
    concurrency=st.integers(1, 10_000),
    workers=st.integers(1, 256),
    max_queue_size=st.integers(1, 1000),
    found=st.one_of(st.none(), st.integers(4, 1024)),
)
def test_numbers_of_the_user_are_kept(
    *, batch_size: int, concurrency: int, workers: int, max_queue_size: int, found: int | None
) -> None:
    knobs = make(batch_size=batch_size, concurrency=concurrency, workers=workers, max_queue_size=max_queue_size)
    options = resolve(knobs, found_concurrency=found)
    assert (options.concurrency, options.workers, options.max_queue_size) == (concurrency, workers, max_queue_size)
    # A look-ahead below C leaves requests unused, below two batches it stops at every border.
    assert options.look_ahead >= max(concurrency, 2 * batch_size)
    assert describe(settings_of(options), fixed_knobs(knobs))["concurrency"] == str(concurrency)


@pytest.mark.parametrize(("found", "concurrency"), [(100, 100), (None, LOCAL_CONCURRENCY)])
def test_auto_asks_much_of_a_bucket_and_less_of_a_disk(
    *, found: int | None, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_knobs, "usable_cores", lambda: 3)
    monkeypatch.setattr(tune_knobs, "available_bytes", lambda: 1_000_000_000)
    knobs = make()
    options = resolve(knobs, found_concurrency=found)
    assert (options.concurrency, options.look_ahead) == (concurrency, max(8 * concurrency, 64))
    assert (options.workers, options.max_queue_size) == (3, START)
    assert (options.body_bytes, options.slab_bytes) == (None, 250_000_000)
    assert describe(settings_of(options), fixed_knobs(knobs)) == {
        "concurrency": f"{concurrency} (auto)",
        "workers": "3 (auto)",
        "use_multiprocessing": "False (auto)",
        "max_queue_size": f"{START} (auto)",
    }


def test_auto_takes_no_more_than_two_gigabytes_of_a_large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_knobs, "available_bytes", lambda: 10**12)
    assert resolve(make(), found_concurrency=64).slab_bytes == 2_000_000_000


@pytest.mark.parametrize(("memory", "total"), [("2GB", 2 * 10**9), ("64MiB", 64 * 2**20), (1_000_003, 1_000_003)])
def test_a_given_memory_is_shared_out_without_a_rest(memory: Any, total: int) -> None:
    options = resolve(make(max_memory=memory), found_concurrency=64)
    assert options.body_bytes is not None
    assert options.body_bytes + options.slab_bytes == total
    assert options.body_bytes == total // 4


def test_the_other_options_are_passed_on() -> None:
    knobs = make(on_error="skip", max_error_rate=0.5, stall_timeout_s=7, close_timeout_s=0.5, use_multiprocessing=False)
    options = resolve(knobs, found_concurrency=None)
    assert (options.on_error, options.max_error_rate) == ("skip", 0.5)
    assert (options.stall_timeout_s, options.close_timeout_s) == (7, 0.5)
    assert describe(settings_of(options), fixed_knobs(knobs))["use_multiprocessing"] == "False"
