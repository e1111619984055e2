"""Spans of a run as they would be measured, from what its stations do on average."""

from __future__ import annotations

from typing import Any

from aioloader.monitor.timeline import Moment, Settings, Span
from aioloader.tune.load import Load

SECONDS = 10.0


def settings(**changed: Any) -> Settings:
    given: dict[str, Any] = {"concurrency": 64, "workers": 2, "use_multiprocessing": False, "max_queue_size": 8}
    return Settings(**given | changed)


def span_of(
    *,
    per_s: float = 500.0,
    wait: float = 1.0,
    in_flight: float = 10.0,
    lanes: float = 0.2,
    lane_cores: float | None = None,
    loop: float = 0.1,
    consumer_cores: float = 0.0,
    idle: float = 1.0,
    lag_s: float = 0.0005,
    given: Settings | None = None,
    **sums: Any,
) -> Span:
    """Ten seconds at ``per_s`` samples a second: the consumer waits a share ``wait`` of them, ``in_flight`` requests
    and ``lanes`` decoders are at work on average, on ``lane_cores`` cores (default: all they are busy), the loops on
    ``loop``, and ``idle`` cores have nothing to do. Other ``sums`` are a second."""
    knobs = given or settings()
    cores = lanes if lane_cores is None else lane_cores
    child = knobs.use_multiprocessing
    own = consumer_cores + (0.02 if child else cores + loop)
    rates: dict[str, float] = {
        "samples": per_s,
        "fetched": per_s,
        "decoded": per_s,
        "data_wait_s": wait,
        "fetch_s": in_flight,
        "decode_s": lanes,
        "process_cpu_s": own,
        "idle_s": idle,
        "lags": 20,
        "lag_s": 20 * lag_s,
        "beats": 4,
        "answered": per_s,
        ("child_decode_cpu_s" if child else "decode_cpu_s"): cores,
        ("child_loop_cpu_s" if child else "loop_cpu_s"): loop,
    }
    after: dict[str, Any] = {name: rate * SECONDS for name, rate in (rates | sums).items()}
    first = Moment(at_s=0.0, active_s=0.0, settings=knobs)
    return Span(first, Moment(at_s=SECONDS, active_s=SECONDS, settings=knobs, batches=100, **after))


def load_of(cores: int = 2, **stations: Any) -> Load:
    """The load of such a span on ``cores`` usable cores."""
    return Load(span_of(**stations), cores)
