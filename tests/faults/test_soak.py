"""A minute of epochs from a server of which a tenth of the answers go wrong; ``scripts/long/soak`` takes longer."""

from __future__ import annotations

import random

import pytest

from tests.faults.soak import Plan, slope, soak

SECONDS = 60


@pytest.mark.timeout(180)
def test_epoch_after_epoch_is_exact_and_nothing_grows(fault_seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = soak(Plan(seconds=SECONDS, seed=fault_seed))
    with capsys.disabled():
        print(f"\n{outcome}")
    assert outcome.epochs >= 2
    assert outcome.server["faulted"] >= 0.05 * outcome.server["requests"]
    assert outcome.complaints() == []
    # libuv keeps four threads, and uvloop two descriptors, for the life of the process.
    for name, kept in (("threads", 4), ("descriptors", 2)):
        before, after = outcome.ends[name]
        assert after <= before + kept


def test_the_slope_is_that_of_most_samples() -> None:
    draw = random.Random(3)
    at = [float(second) for second in range(60)]
    values = [100 + 2 * second + draw.uniform(-1, 1) for second in at]
    values[10] = values[40] = 10_000
    assert slope(at, values) == pytest.approx(2, abs=0.05)
