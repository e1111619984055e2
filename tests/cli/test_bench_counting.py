"""A run's figures, from batches that are given here: what counts, and what is not valid."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from aioloader.cli.bench.closing import closing
from aioloader.cli.bench.command import latencies_s
from aioloader.cli.bench.counting import Count, checksum_of
from aioloader.cli.bench.results import Results, Run
from aioloader.cli.bench.task import Figures
from aioloader.cli.bench.time_left import TimeLeft

if TYPE_CHECKING:
    from collections.abc import Sequence


def counted(batches: Sequence[Sequence[int]], expected: int, *, seconds: float = 60.0, quantum: int = 0) -> Count:
    count = Count(expected, seconds, quantum)
    for ids in batches:
        if count.add([np.array(ids)], np.array(ids)):
            break
    return count


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([[0, 1], [2, 3]], ""),
        ([[1, 0], [3, 2]], ""),
        ([[0, 1], [2, 2]], "of 4 samples 1 lost, 1 repeated"),
        ([[0, 1]], "of 4 samples 2 lost"),
        ([[0, 1], [2, 7]], "of 4 samples 1 lost, 1 that were not due"),
        ([], "it gave no batch"),
    ],
    ids=str,
)
def test_a_whole_epoch_is_valid_where_each_sample_comes_once(batches: list[list[int]], why: str) -> None:
    assert counted(batches, 4).figures().why_invalid == why


def test_a_run_that_ends_by_its_time_is_valid_where_it_read_the_beginning() -> None:
    for second, why in (([2, 3], ""), ([4, 5], "of 4 samples 2 lost, 2 that were not due")):
        count = Count(100, 0.01, 0)
        time.sleep(0.02)
        assert not count.add([np.zeros(2)], np.array([0, 1]))
        time.sleep(0.02)
        assert count.add([np.zeros(2)], np.array(second))
        assert count.figures().why_invalid == why


def test_a_mode_in_waves_longer_than_its_time_ends_with_the_first_and_all_of_it_counts() -> None:
    count = Count(100, 0.01, 4)
    time.sleep(0.05)
    assert not count.add([np.zeros(2)], np.array([0, 1]))
    assert count.add([np.zeros(2)], np.array([2, 3]))
    figures = count.figures()
    assert figures.samples == 4
    assert 4 / 0.5 < figures.samples_per_s <= 4 / 0.05
    assert figures.first_batch_s >= 0.05


def test_what_came_before_the_mark_is_not_measured() -> None:
    count = Count(1000, 0.2, 0)
    count.add([np.zeros(500)], np.arange(500))  # a gift of what was under way
    time.sleep(0.05)
    count.add([np.zeros(10)], np.arange(500, 510))
    time.sleep(0.1)
    count.add([np.zeros(10)], np.arange(510, 520))
    time.sleep(0.15)
    assert count.add([np.zeros(10)], np.arange(520, 530))
    assert 1 < count.figures().samples_per_s <= 20 / 0.25


def test_a_burst_before_a_long_wait_is_not_taken_for_speed() -> None:
    count = Count(1000, 0.1, 0)
    time.sleep(0.03)
    for first in (0, 10, 20):
        assert not count.add([np.zeros(10)], np.arange(first, first + 10))
    time.sleep(0.3)
    assert count.add([np.zeros(10)], np.arange(30, 40))
    assert count.figures().samples_per_s <= 30 / 0.3


def test_waves_are_measured_whole() -> None:
    count = Count(1000, 0.1, 4)
    time.sleep(0.02)
    for first in (0, 2):  # the first wave, by which the time begins
        assert not count.add([np.zeros(2)], np.array([first, first + 1]))
    time.sleep(0.15)
    assert not count.add([np.zeros(2)], np.array([4, 5]))  # the time is over, the second wave is not
    assert count.add([np.zeros(2)], np.array([6, 7]))
    figures = count.figures()
    assert figures.samples == 8
    assert 1 < figures.samples_per_s <= 4 / 0.15


def test_two_batches_of_other_values_have_other_checksums() -> None:
    one = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(2.0)]
    other = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.arange(2.0) + 1]
    assert checksum_of(one) == checksum_of([array.copy() for array in one])
    assert checksum_of(one) != checksum_of(other)


def run(mode: str, number: int, speed: float, checksum: int = 1, why: str = "", place: str = "here") -> Run:
    figures = Figures(
        samples=10,
        samples_per_s=speed,
        first_batch_s=0.1,
        cpu_s_per_1000=1.0,
        seconds=1.0,
        first_checksum=checksum,
        why_invalid=why,
        peak_bytes=1_000_000,
    )
    more = {"is_comparable": True, "settings": "as it is"}
    return Run(mode=mode, place=place, round_number=number, answer=asdict(figures) | more)


def results(*runs: Run) -> Results:
    modes = {"pydataset-threads": "Keras PyDataset, threads", "tf.data": "tf.data", "aioloader-processes": "ours"}
    return Results(modes=modes, missing={}, places=["here"], runs=list(runs))


def test_a_cell_is_the_median_with_the_least_and_the_greatest() -> None:
    (cell,) = results(*(run("tf.data", number, speed) for number, speed in enumerate((30.0, 10.0, 80.0)))).cells("here")
    speed = cell.figures["samples_per_s"]
    assert (speed.median, speed.low, speed.high, cell.validity) == (30.0, 10.0, 80.0, "3 of 3")


def test_a_run_that_lost_samples_or_has_other_values_does_not_count() -> None:
    found = results(
        run("tf.data", 0, 10),
        run("pydataset-threads", 0, 20),
        run("pydataset-threads", 1, 9999, why="of 4 samples 1 lost"),
        run("aioloader-processes", 0, 30, checksum=2),
    ).cells("here")
    by_mode = {cell.mode: cell for cell in found}
    assert by_mode["pydataset-threads"].figures["samples_per_s"].high == 20
    assert by_mode["pydataset-threads"].validity == "1 of 2"
    assert by_mode["pydataset-threads"].complaints == ["invalid: of 4 samples 1 lost"]
    assert by_mode["aioloader-processes"].validity == "failed"
    assert by_mode["aioloader-processes"].complaints == ["invalid: its first batch holds other values than the others'"]


def test_the_last_sentence_says_by_how_much_and_what_to_write() -> None:
    all_of_them = results(run("tf.data", 0, 100), run("pydataset-threads", 0, 40), run("aioloader-processes", 0, 200))
    code = "al.Loader(data, decode=mine, batch_size=8, use_multiprocessing=True)"
    assert closing(all_of_them, "here", decode_code="mine", batch_size=8) == (
        "At here: fastest is ours with 200 samples/s, 5.0 times Keras PyDataset, threads and 2.0 times tf.data. "
        f"In code: {code}"
    )


def test_the_last_sentence_says_so_where_another_is_faster() -> None:
    words = closing(
        results(run("tf.data", 0, 100), run("aioloader-processes", 0, 50)), "here", decode_code="mine", batch_size=8
    )
    assert words.startswith("At here: fastest is tf.data with 100 samples/s; aioloader reaches 50% of it (ours).")
    assert closing(results(), "here", decode_code="mine", batch_size=8) == ""


def test_the_time_left_is_known_from_what_runs_took() -> None:
    left = TimeLeft(Counter(a=3, b=2), guess_s=10)
    assert left.seconds == 50
    left.done("a", 2)
    assert left.seconds == 2 * 2 + 2 * 10
    left.skip("b", 2)
    assert (left.steps_done, left.total, str(left)) == (3, 5, "about 4 s left")


def test_nothing_is_begun_for_which_there_is_no_time() -> None:
    left = TimeLeft({"a": 9}, guess_s=1, ends_at=time.monotonic() + 100)
    assert left.is_time_for("a", 9)
    left.done("a", 60)
    assert left.is_time_for("a", 1)
    assert not left.is_time_for("a", 2)


def test_a_latency_without_a_unit_has_the_last_ones() -> None:
    assert latencies_s("0,10,50,200ms") == [0, 0.01, 0.05, 0.2]
    assert latencies_s("5ms, 1s") == [0.005, 1.0]
