"""A race as Markdown: one table a decoder, the references, the limit, and the paired ratios."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from race.compete import told
from race.figures import limit_per_s, paired_ratio, spread
from race.row import CORES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from race.compete import Race
    from race.row import Competitor, Row
    from race.run_one import Outcome

FIGURES = {
    "samples_per_s": "after the first batch",
    "steady_samples_per_s": "steady",
    "whole_samples_per_s": "whole epoch",
}
HEADER = (
    "| loader | samples/s after the first batch (quartiles) | steady | whole epoch | first batch, s | CPU s per 1,000 "
    "| peak PSS, MB | others' share | options |\n|---|---:|---:|---:|---:|---:|---:|---:|---|"
)


def row_report(row: Row, competitors: Sequence[Competitor], race: Race, count: int) -> str:
    """Everything there is to say about one row."""
    where = f"{row.latency_s * 1000:.0f} ms a request" if row.latency_s is not None else "page cache"
    lines = [f"## {row.letter}: {row.title}", "", f"{count:,} samples, batches of {row.batch_size}, {where}.", ""]
    groups = dict.fromkeys(who.group for who in competitors)
    for group in groups:
        members = [who for who in competitors if who.group == group]
        racers = [who for who in members if not who.is_reference]
        lines += [f"### decoder: {group}" if group != "none" else "### no decoder", "", HEADER]
        lines += [_line(who, race) for who in _by_speed(row, racers, race)]
        lines += [_line(who, race) for who in members if who.is_reference]
        lines += ["", *_limit(row, group, competitors, race), *_ratios(row, racers, race), ""]
    lines += _decoders(competitors, race)
    lines += _errors(competitors, race)
    return "\n".join(lines)


def _middle(runs: dict[int, Outcome], name: str) -> float:
    return median(getattr(run, name) for run in runs.values())


def _or_blank(figure: float) -> str:
    return f"{figure:,.0f}" if figure else ""


def _by_speed(row: Row, who: Sequence[Competitor], race: Race) -> list[Competitor]:
    def speed(one: Competitor) -> float:
        runs = race.best(one.key)
        return _middle(runs, row.headline) if runs else -1.0

    return sorted(who, key=speed, reverse=True)


def _line(who: Competitor, race: Race) -> str:
    runs = race.best(who.key)
    name = f"*{who.name}*" if who.is_reference else f"**{who.name}**" if who.is_ours else who.name
    if not runs:
        return f"| {name} | failed: see below | | | | | | | |"
    speeds = spread([run.samples_per_s for run in runs.values()])
    options = next(iter(runs.values())).options
    shown = " ".join(f"{key}={value}" for key, value in options.items() if not who.is_reference)
    return (
        f"| {name} | {speeds.median:,.0f} ({speeds.low:,.0f} to {speeds.high:,.0f}) "
        f"| {_or_blank(_middle(runs, 'steady_samples_per_s'))} | {_middle(runs, 'whole_samples_per_s'):,.0f} "
        f"| {_middle(runs, 'first_batch_s'):.2f} "
        f"| {_middle(runs, 'cpu_s_per_1000'):.3g} | {_middle(runs, 'peak_mb'):,.0f} "
        f"| {_middle(runs, 'others_share'):.0%} | {shown} |"
    )


def costs(row: Row, group: str, competitors: Sequence[Competitor], race: Race) -> dict[str, float] | None:
    """Core-microseconds a sample of each part of the work, measured in this race; None where a part is missing."""
    parts: dict[str, float] = {}
    names = {"decode": ("decode, one core", group)} if group != "none" else {}
    if row.is_remote:
        names["fetch"] = ("aiohttp, one process", "")
    if row.through_fit:
        names["model"] = ("model alone", "")
    for part, (name, decoder) in names.items():
        found = [who for who in competitors if who.name == name and (not decoder or who.decoder == decoder)]
        runs = race.best(found[0].key) if found else {}
        if not runs:
            return None
        parts[part] = _middle(runs, "work_cpu_us")
        if part == "fetch":
            parts["server"] = _middle(runs, "server_cpu_us")
    return parts or None


def _limit(row: Row, group: str, competitors: Sequence[Competitor], race: Race) -> list[str]:
    parts = costs(row, group, competitors, race)
    if parts is None:
        return []
    limit = limit_per_s(CORES, list(parts.values()))
    sum_of = " + ".join(f"{name} {value:,.0f}" for name, value in parts.items())
    lines = [f"Limit: {CORES} cores / ({sum_of} µs a sample) = {limit:,.0f} samples/s.", ""]
    for who in competitors:
        runs = race.best(who.key)
        if who.is_ours and who.group == group and runs:
            share = _middle(runs, row.headline) / limit
            work = parts.get("decode", 0) + parts.get("fetch", 0)
            above, later = _middle(runs, "cpu_s_per_1000") * 1000 - work, _middle(runs, "later_cpu_us") - work
            lines += [
                f"{who.name}: {share:.1%} of the limit; {above:,.0f} µs of CPU a sample above decode and fetch, "
                f"{later:,.0f} from the first batch on.",
                "",
            ]
    return lines


def _ratios(row: Row, racers: Sequence[Competitor], race: Race) -> list[str]:
    """Ours over each peer, paired by round, by the headline figure and by the steady one."""
    ours = [who for who in racers if who.is_ours and race.valid(who.key)]
    theirs = [who for who in _by_speed(row, racers, race) if not who.is_ours and race.valid(who.key)]
    if not ours or not theirs:
        return []
    lines = [f"| ratio of | {' | '.join('over ' + who.name for who in theirs)} |", f"|---{'|---' * len(theirs)}|"]
    for who in ours:
        for name in dict.fromkeys((row.headline, "steady_samples_per_s")):
            cells = [_ratio(race, who, other, name) for other in theirs]
            lines.append(f"| **{who.name}**, {FIGURES[name]} | {' | '.join(cells)} |")
    return [*lines, ""]


def _ratio(race: Race, ours: Competitor, theirs: Competitor, name: str) -> str:
    """Over the rounds that were quiet for both, or else over all, marked."""
    for runs, is_quiet in ((race.quiet, True), (race.valid, False)):
        # 0 is what an epoch has that is too short for the figure.
        mine, other = (
            {number: value for number, run in runs(who.key).items() if (value := getattr(run, name))}
            for who in (ours, theirs)
        )
        ratio = paired_ratio(mine, other)
        if ratio is not None:
            verdict = f", {ratio.verdict}" if ratio.rounds > 2 else f" in {ratio.rounds}"
            return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}){verdict if is_quiet else ', disturbed'}"
    return ""


def _decoders(competitors: Sequence[Competitor], race: Race) -> list[str]:
    """Whether everyone made the same pixels as the decoder alone."""
    lines = []
    for line in competitors:
        runs = race.valid(line.key)
        if line.is_reference and line.name in ("decode, one core", "bare") and runs:
            expected = next(iter(runs.values())).checksum
            for who in competitors:
                sums = {run.checksum for run in race.valid(who.key).values()} - {-1}
                if who.decoder == line.decoder and not who.is_reference and sums and sums != {expected}:
                    lines.append(f"- {who.key} made other pixels than {line.key}")
    return ["Pixels (a sum over some bytes of each sample):", "", *dict.fromkeys(lines), ""] if lines else []


def _errors(competitors: Sequence[Competitor], race: Race) -> list[str]:
    lines = []
    for who in competitors:
        error = race.error(who.key)
        if error is not None:
            lines.append(f"- {who.key}: {len(race.valid(who.key))} valid rounds; {told(error)[:400]}")
        lines += [
            f"- {who.key}: {note}" for note in dict.fromkeys(n for r in race.valid(who.key).values() for n in r.notes)
        ]
    return ["Failures and notes:", "", *lines, ""] if lines else []
