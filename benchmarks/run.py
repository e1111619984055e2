"""The race: every loader, the same data, fresh processes, interleaved rounds; a Markdown table and JSON.

    python benchmarks/run.py --quick | --full [--rows A,B] [--only aioloader,spdl] [--decoders pillow] [--out FOLDER]

`benchmarks/README.md` says what is compared and how the others are configured.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from race import tree
from race.bucket import bucket
from race.compete import Plan, Race, compete
from race.environments import python_of, versions
from race.row import CORES
from race.tables import costs, row_report
from rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from race.row import Competitor, Row

CACHE = Path.home() / ".cache" / "aioloader-benchmarks"
QUICK_ROUNDS, FULL_ROUNDS = 3, 7


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--quick", action="store_true", help=f"fewer samples, {QUICK_ROUNDS} rounds, no sweep")
    how.add_argument("--full", action="store_true", help=f"all samples, a sweep of options, {FULL_ROUNDS} rounds")
    how.add_argument("--prepare", action="store_true", help="make environments and data only")
    parser.add_argument("--rows", default=",".join(ROWS), help="letters, such as A,B")
    parser.add_argument("--only", default="", help="what the names of who runs begin with; references always run")
    parser.add_argument("--decoders", default="", help="such as pillow,fast")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--count", type=int, help="samples an epoch")
    parser.add_argument("--sweep", action=argparse.BooleanOptionalAction, help="try all option sets first")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds a run may wait for a quiet machine")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds a run may take")
    parser.add_argument("--out", type=Path, default=CACHE / "results")
    parser.add_argument("--envs", type=Path, default=CACHE / "envs")
    parser.add_argument("--data", type=Path, default=CACHE / "data")
    chosen = parser.parse_args()
    chosen.rows = [letter for letter in chosen.rows.upper().split(",") if letter]
    if unknown := set(chosen.rows) - set(ROWS):
        parser.error(f"--rows: no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    return chosen


def who_runs(row: Row, chosen: argparse.Namespace) -> list[Competitor]:
    """The row's competitors that ``--only`` and ``--decoders`` leave; references for the decoders that are left."""
    names = tuple(name for name in chosen.only.split(",") if name)
    decoders = {name for name in chosen.decoders.split(",") if name} | {"none"}
    everyone = [who for who in row.competitors() if not chosen.decoders or {who.decoder, who.group} & decoders]
    return [who for who in everyone if who.is_reference or not names or who.name.startswith(names)]


def pythons_for(competitors: Sequence[Competitor], folder: Path) -> dict[str, Path]:
    """Each peer's interpreter; a peer whose environment cannot be made is left out, and said."""
    found = {}
    for peer in dict.fromkeys(who.peer for who in competitors):
        try:
            found[peer] = python_of(peer, folder)
        except subprocess.CalledProcessError as exc:
            print(f"{peer} does not take part: its environment failed: {exc}", file=sys.stderr)
    return found


def run_row(row: Row, chosen: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """One row's report and record."""
    pythons = pythons_for(who_runs(row, chosen), chosen.envs)
    competitors = [who for who in who_runs(row, chosen) if who.peer in pythons]
    count = chosen.count or (row.quick_count if chosen.quick else row.count)
    plan = Plan(
        count=count,
        rounds=chosen.rounds or (QUICK_ROUNDS if chosen.quick else FULL_ROUNDS),
        sweep=chosen.full if chosen.sweep is None else chosen.sweep,
        timeout_s=chosen.timeout,
        patience_s=chosen.patience,
    )
    folder = row.objects.made_in(chosen.data, count)
    for path in folder.iterdir():  # into the page cache: no race is about this machine's disk
        path.read_bytes()
    if chosen.prepare:
        return "", {}
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(bucket(folder, row.latency_s)) if row.latency_s is not None else None
        seen = (
            f"; bucket: {served.kind}, {served.latency_ms(f'000000{row.objects.extension}'):.1f} ms" if served else ""
        )
        race = compete(row, competitors, plan, pythons, folder, served)
    report = row_report(row, competitors, race, count)
    tail = f"{plan.rounds} rounds{seen}; {machine()}; "
    tail += "; ".join(f"{peer}: {_shown(versions(python))}" for peer, python in pythons.items())
    return f"{report}\n{tail}\n", record(row, competitors, race, plan, tail)


def _shown(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def machine() -> str:
    """What ran it, without a host's name."""
    return f"{CORES} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"


def record(row: Row, competitors: Sequence[Competitor], race: Race, plan: Plan, tail: str) -> dict[str, Any]:
    """Every figure of every run."""
    groups = dict.fromkeys(who.group for who in competitors)
    return {
        "row": row.letter,
        "title": row.title,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": dataclasses.asdict(plan),
        "environment": tail,
        "core_microseconds": {group: costs(row, group, competitors, race) for group in groups},
        "rounds": {
            key: {number: dataclasses.asdict(run) for number, run in runs.items()}
            for key, runs in race.outcomes.items()
        },
        "sweep": {key: [dataclasses.asdict(run) for run in runs] for key, runs in race.swept.items()},
    }


def main() -> None:
    """Run the rows; each is written as soon as it is done."""
    chosen = arguments()
    tree.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # so that what was started is ended too
    chosen.out.mkdir(parents=True, exist_ok=True)
    for letter in chosen.rows:
        report, found = run_row(ROWS[letter], chosen)
        if report:
            (chosen.out / f"{letter}.md").write_text(report)
            (chosen.out / f"{letter}.json").write_text(json.dumps(found, indent=1) + "\n")
            print(report, flush=True)


if __name__ == "__main__":
    main()
