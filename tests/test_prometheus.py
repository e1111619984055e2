"""What a scrape says is what the loader counted, in both formats, and no secret is in it."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families as parse_plain

import aioloader as al
from aioloader.errors import OptionError
from aioloader.prometheus import LoaderCollector
from aioloader.serve.manners import Manners
from aioloader.serve.thread import serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client.core import Metric

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]
generate_openmetrics: Any = exposition.generate_latest  # without types
parse_openmetrics: Any = parser.text_string_to_metric_families
FORMATS: list[tuple[str, Any, Any]] = [
    ("plain", generate_latest, parse_plain),
    ("openmetrics", generate_openmetrics, parse_openmetrics),
]


def values_of(families: list[Metric]) -> Values:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def of(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset({"loader": "train", **labels}.items())]


@pytest.mark.parametrize(("kind", "generate", "parse"), FORMATS, ids=[kind for kind, *_ in FORMATS])
def test_a_scrape_says_what_was_counted(
    tmp_path: Path, kind: str, generate: Callable[[CollectorRegistry], bytes], parse: Callable[[str], list[Metric]]
) -> None:
    for number in range(24):
        (tmp_path / f"{number:02d}.txt").write_text(str(number) if number != 5 else "no number")
    with serve_in_thread(tmp_path, Manners(latency_s=0.01)) as server:
        url = server.url.replace("http://", "http://someone:hunter2@")
        data = al.from_samples([f"{number:02d}.txt" for number in range(24)], root=url)
        with al.Loader(
            data,
            decode=lambda body: np.array([int(body)]),
            batch_size=4,
            concurrency=6,
            on_error="skip",
            max_error_rate=0.1,
        ) as loader:
            registry = CollectorRegistry()
            registry.register(LoaderCollector({"train": loader}))
            for _ in loader.epochs(2):
                pass
            stats, settings = loader.stats(), loader.settings
            text = generate(registry).decode()
    values = values_of(list(parse(text)))
    assert of(values, "aioloader_samples_total") == stats.samples == 48
    assert of(values, "aioloader_batches_total") == stats.batches
    assert of(values, "aioloader_epochs_total") == 2
    assert of(values, "aioloader_skipped_samples_total") == stats.skipped == 2
    assert of(values, "aioloader_failed_samples_total", stage="decode") == stats.decode.failed == 2
    assert of(values, "aioloader_fetched_bytes_total") == stats.bytes_fetched
    assert of(values, "aioloader_data_wait_seconds_total") == pytest.approx(stats.data_wait_s)
    assert of(values, "aioloader_requests_total", outcome="answered") == stats.engine.requests.answered
    assert of(values, "aioloader_retries_total") == stats.engine.requests.retries
    assert of(values, "aioloader_fetch_seconds_count") == stats.fetch.count
    assert of(values, "aioloader_fetch_seconds_sum") == pytest.approx(stats.fetch.total_s)
    assert of(values, "aioloader_fetch_seconds_bucket", le="0.008192") == 0
    assert of(values, "aioloader_fetch_seconds_bucket", le="+Inf") == stats.fetch.count
    assert of(values, "aioloader_decode_seconds_count") == stats.decode.count
    assert of(values, "aioloader_knob", knob="concurrency") == settings.concurrency == 6
    assert of(values, "aioloader_knob", knob="use_multiprocessing") == 0
    assert of(values, "aioloader_queue_batches") == 0
    assert of(values, "aioloader_in_flight_requests") == 0
    limits = [dict(labels)["limit"] for name, labels in values if name == "aioloader_verdict_info"]
    assert limits == [loader.verdict().limit]
    assert "hunter2" not in text
    assert ".txt" not in text


def buckets_of(values: Values, loader: str) -> list[float]:
    rows = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in values.items()
        if name == "aioloader_decode_seconds_bucket" and dict(labels)["loader"] == loader
    ]
    return [value for _, value in sorted(rows)]


def memory_loader(count: int) -> al.Loader:
    keys = [str(number) for number in range(count)]
    store = al.MemoryStore(dict.fromkeys(keys, b"1"))
    return al.Loader(al.from_samples(keys, store=store), decode=al.RawDecoder(), batch_size=4)


def test_two_loaders_share_the_metrics_and_one_that_is_gone_is_left_out() -> None:
    registry = CollectorRegistry(auto_describe=True)
    train, other = memory_loader(16), memory_loader(8)
    registry.register(LoaderCollector({"train": train, "validation": other}))
    for loader in (train, other):
        for _ in loader:
            pass
    values = values_of(list(parse_plain(generate_latest(registry).decode())))
    assert of(values, "aioloader_samples_total") == 16
    assert of(values, "aioloader_samples_total", loader="validation") == 8
    counts = buckets_of(values, "train")
    assert counts == sorted(counts)
    assert counts[-1] == 16
    other.close()
    del other, loader
    gc.collect()
    names = {dict(labels)["loader"] for _, labels in values_of(list(registry.collect()))}
    assert names == {"train"}
    train.close()


def test_a_loader_that_read_nothing_can_be_scraped() -> None:
    with memory_loader(4) as loader:
        registry = CollectorRegistry()
        registry.register(LoaderCollector({"train": loader}))
        values = values_of(list(parse_openmetrics(generate_openmetrics(registry).decode())))
    assert of(values, "aioloader_samples_total") == 0
    assert of(values, "aioloader_verdict_info", limit="startup") == 1


def test_a_loader_without_a_name_is_refused() -> None:
    with memory_loader(4) as loader, pytest.raises(OptionError, match="a name for each loader"):
        LoaderCollector({"": loader})


def test_without_the_client_the_extra_is_named() -> None:
    program = "import sys; sys.modules['prometheus_client'] = None\nimport aioloader.prometheus"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'aioloader[prometheus]'" in ended.stderr
