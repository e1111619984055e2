"""Does `concurrency="auto"` find what a sweep over fixed numbers finds, at each latency and size? And below a limit?

    python benchmarks/bench_concurrency.py [--rounds 3] [--latency 50ms --size 128KiB] [--only grid|limit] [--json FILE]

Grid: objects of one size at one latency, no decoding, from nginx (`aioloader serve` where it is missing). Every fixed
number is measured once; then the best of them and "auto", in turn, each in a process of its own that knows nothing: the
rate of the last `LAST_S` seconds of `AUTO_S`. Limit: a bucket that takes 500 requests a second (burst 50, then 1) and
answers 429 to the rest; the rate and the share that was refused after `LIMIT_AFTER_S`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from harness import environment
from race.bucket import bucket

import aioloader as al
from aioloader.cli.bucket_process import bucket_process
from aioloader.units import parse_bytes, parse_seconds

LATENCIES = ("5ms", "50ms", "200ms")
SIZES = ("16KiB", "128KiB", "2MiB")
FIXED = (8, 16, 32, 64, 128, 256, 512, 1024)
BATCH_SIZE = 32
SWEEP_S, AUTO_S, LAST_S = 4.0, 12.0, 4.0
LIMIT_PER_S, LIMIT_S, LIMIT_AFTER_S = 500, 25.0, 10.0
FOLDER_BYTES = 256 << 20


def watch(url: str, size: int, concurrency: int | None, seconds: float, last_s: float) -> dict[str, float | int]:
    """Read for ``seconds`` in this process; samples a second, and refusals a request, of the last ``last_s``."""
    data = al.from_samples(names(size), root=url)
    with al.Loader(
        data,
        decode=al.RawDecoder(shape=(size,)),
        batch_size=BATCH_SIZE,
        shuffle=True,
        seed=0,
        concurrency=concurrency or "auto",
        use_multiprocessing=False,
    ) as loader:
        began_s = perf_counter()
        mark: tuple[float, int, int] | None = None
        seen = 0
        for batch in loader.epochs(10**6):
            now_s = perf_counter() - began_s
            seen += len(batch.sample_ids)
            if mark is None and now_s >= seconds - last_s:
                mark = now_s, seen, loader.stats().engine.requests.throttled
            elif mark is not None and now_s >= seconds:
                got, refused = seen - mark[1], loader.stats().engine.requests.throttled - mark[2]
                tried = [change.value for change in loader.changes if change.knob == "concurrency"]
                found = tried[-1] if tried else 64
                return {
                    "per_s": got / (now_s - mark[0]),
                    "refused": refused / (got + refused),
                    "concurrency": concurrency or found,
                }
    raise AssertionError  # epochs do not end


def measured(url: str, size: int, concurrency: int | None, seconds: float, last_s: float) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--watch", url, str(size), str(concurrency or 0), str(seconds), str(last_s)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=30 + 10 * seconds)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def names(size: int) -> list[str]:
    """Of files of ``size`` bytes: `FOLDER_BYTES` in all, 4,096 at most."""
    return [f"{index:06d}.bin" for index in range(min(FOLDER_BYTES // size, 4096))]


def fill(folder: Path, size: int) -> None:
    """The files of `names`."""
    for index, name in enumerate(names(size)):
        (folder / name).write_bytes(index.to_bytes(8, "big") * (size // 8))


def cell(latency: str, size_name: str, rounds: int) -> dict[str, object]:
    """The sweep, then the best of it and "auto" in turn."""
    size = parse_bytes("--size", size_name)
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), size)
        with bucket(Path(name), parse_seconds("--latency", latency)) as server:
            # Above what is listed there is nothing to have in flight.
            fixed = [number for number in FIXED if number <= len(names(size))]
            sweep = {number: measured(server.url, size, number, SWEEP_S, SWEEP_S / 2)["per_s"] for number in fixed}
            best = max(sweep, key=sweep.__getitem__)
            pairs, found = [], []
            for _ in range(rounds):
                auto = measured(server.url, size, None, AUTO_S, LAST_S)
                again = measured(server.url, size, best, AUTO_S, LAST_S)
                pairs.append((auto["per_s"], again["per_s"]))
                found.append(int(auto["concurrency"]))
            kind = server.kind
    ratio = median(auto / fixed_rate for auto, fixed_rate in pairs)
    row = (
        f"| {latency} | {size_name} | {best} | {median(pair[1] for pair in pairs):,.0f} | {sorted(found)} "
        f"| {median(pair[0] for pair in pairs):,.0f} | {ratio:.2f} "
        f"| {min(a / b for a, b in pairs):.2f} to {max(a / b for a, b in pairs):.2f} |"
    )
    print(row, flush=True)
    return {"latency": latency, "size": size_name, "sweep": sweep, "pairs": pairs, "found": found, "bucket": kind}


def limited(latency: str, burst: int) -> dict[str, object]:
    """500 requests a second and no more."""
    size = 16 << 10
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), size)
        options = ("--rate-limit", f"{LIMIT_PER_S},{burst}")
        with bucket_process(Path(name), parse_seconds("--latency", latency), *options) as url:
            result = measured(url, size, None, LIMIT_S, LIMIT_S - LIMIT_AFTER_S)
    print(f"| {latency} | {burst} | {result['per_s']:,.0f} | {result['refused']:.1%} |", flush=True)
    return {"latency": latency, "burst": burst, **result}


def main() -> None:
    """Measure and print the tables."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latency", choices=LATENCIES)
    options.add_argument("--size", choices=SIZES)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=("grid", "limit"))
    options.add_argument("--json", type=Path)
    options.add_argument("--watch", nargs=5, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.watch:
        url, size, concurrency, seconds, last_s = chosen.watch
        print(json.dumps(watch(url, int(size), int(concurrency) or None, float(seconds), float(last_s))))
        return
    record: dict[str, object] = {"environment": environment()}
    if chosen.only != "limit":
        print("| latency | size | best fixed | samples/s | auto found | samples/s | median ratio | least to most |")
        print("|---:|---:|---:|---:|---|---:|---:|---|")
        record["grid"] = [
            cell(latency, size, chosen.rounds)
            for latency in (chosen.latency,) * bool(chosen.latency) or LATENCIES
            for size in (chosen.size,) * bool(chosen.size) or SIZES
        ]
    if chosen.only != "grid":
        print(f"\n| latency | burst | samples/s of {LIMIT_PER_S} | refused after {LIMIT_AFTER_S:g} s |")
        print("|---:|---:|---:|---:|")
        record["limit"] = [limited(latency, burst) for burst in (50, 1) for latency in LATENCIES]
    print("\n" + ", ".join(f"{key} {value}" for key, value in environment().items()))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
