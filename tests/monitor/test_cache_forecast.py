"""What the next epoch finds in the cache, told from what the last looked up and wrote."""

from __future__ import annotations

from aioloader.monitor.cache_forecast import CacheForecast
from aioloader.monitor.stats import CacheCounts


def test_before_anything_was_looked_up_nothing_is_known() -> None:
    forecast = CacheForecast(100)
    assert forecast.share(CacheCounts()) is None
    forecast.begin(CacheCounts())
    assert forecast.share(CacheCounts()) is None


def test_what_the_first_epoch_wrote_is_what_the_second_finds() -> None:
    forecast = CacheForecast(100)
    forecast.begin(CacheCounts())
    assert forecast.share(CacheCounts(misses=100, written=30)) == 0.3


def test_a_later_epoch_is_judged_by_itself() -> None:
    """Of the first, 70 of 100 were dropped; the second found 30 and wrote the rest."""
    forecast = CacheForecast(100)
    forecast.begin(CacheCounts())
    forecast.begin(CacheCounts(misses=100, written=30, dropped=70))
    assert forecast.share(CacheCounts(misses=170, hits=30, written=100, dropped=70)) == 1.0


def test_a_few_samples_of_an_epoch_are_judged_with_the_one_before() -> None:
    forecast = CacheForecast(100)
    forecast.begin(CacheCounts())
    forecast.begin(CacheCounts(misses=100, written=30))
    assert forecast.share(CacheCounts(misses=110, written=30)) == 30 / 110


def test_no_more_than_all_is_told() -> None:
    """Where a sample is written twice: it was found spoilt after it had been found well."""
    forecast = CacheForecast(10)
    forecast.begin(CacheCounts())
    assert forecast.share(CacheCounts(misses=10, hits=5, written=12)) == 1.0
