"""The tables: side by side, in full, and what costs what when nothing happens. As text and as markdown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trials.bench.figures import Cell, Row, faster
from trials.bench.steady import Cost

OURS, OURS_SLOW, OURS_TWO = "haagent", "haagent, 1 s", "haagent, two nodes"
THEIRS, THEIRS_TUNED = "keepalived", "keepalived, higher_prio_send_advert"

SIDE = ("fault", "noise p99", *(f"{name}: {what}" for name in (OURS, THEIRS) for what in ("outage", "two at once")))
FULL = (
    "fault",
    "daemon",
    "runs",
    "outage",
    "other answers after",
    "after it",
    "two at once",
    "old node still answers",
    "has the address",
)
COST = ("daemon", "processor, % of a core", "memory, MiB (PSS)", "resident, MiB", "processes")

Table = list[list[str]]


class Report(msgspec.Struct, frozen=True):
    facts: list[str]
    interval: str
    command: str
    rows: list[Row]
    costs: list[Cost]


def text(report: Report) -> str:
    parts = ["\n".join(report.facts)]
    parts += [f"{heading}\n\n{_aligned(table)}" for heading, table in _tables(report)]
    parts.append("\n".join(["Where keepalived is faster:", *_where_they_are_faster(report)]))
    return "\n\n".join(parts)


def markdown(report: Report) -> str:
    lines = ["# Benchmarks", "", _OPENING, "", "```", report.command, "```", "", *report.facts, "", _EXPLANATION, ""]
    for heading, table in _tables(report):
        lines += [f"## {heading}", "", *_piped(table), ""]
    lines += ["## Where keepalived is faster", "", *_where_they_are_faster(report), ""]
    if remarks := [f"- {row.title}: {row.what}." for row in report.rows if row.what]:
        lines += ["## What is hit", "", *remarks, ""]
    return "\n".join(lines)


_OPENING = """\
haagent and keepalived side by side: the same hosts (network namespaces on one bridge), the same prober, the same
faults, in turns, in one run. To repeat it:"""

_EXPLANATION = """\
An *outage* is the longest time between two answered requests of a client that asks for the address every
millisecond, from the fault until it is mended: minimum / median / p99 / maximum, in milliseconds. Without any fault
it is one interval plus the machine's own pauses: the column *noise*, and every figure must be read beside it.
*Other answers after* is the time from the fault to the first answer of another node. *After it* is the longest outage
from the mending until all is well again. *Two at once* is how long both nodes answered for the address, each asked
directly; an answer of the old holder counts only if it was asked after an answer of the new one had come. `>` means:
to the very end of the fault. haagent runs with two nodes and a witness (`consistent`) unless it says otherwise,
keepalived with two nodes, as it knows no witness. The configurations are in `trials/bench/`, with the reason for every
line that is no default."""


def _tables(report: Report) -> list[tuple[str, Table]]:
    found = []
    if report.rows:
        found.append((f"Side by side, interval {report.interval}: outage median (p99), ms", _side_by_side(report.rows)))
        found.append(("All figures: min / median / p99 / max, ms", _full(report.rows)))
    if report.costs:
        found.append(("Steady state: two nodes, four groups, per node", _cost(report.costs)))
    return found


def _side_by_side(rows: Sequence[Row]) -> Table:
    has_slow = any(row.cell(OURS_SLOW) for row in rows)
    head = [*SIDE, f"{OURS_SLOW}: outage"] if has_slow else list(SIDE)
    table = [head]
    for row in rows:
        noise = max((cell.noise.p99 for cell in row.cells), default=0.0)
        line = [row.title, f"{noise:.1f}"]
        for name in (OURS, THEIRS):
            cell = row.cell(name)
            line += ["-", "-"] if cell is None else [_brief(cell), _dual(cell, cell.dual.median)]
        if has_slow:
            slow = row.cell(OURS_SLOW)
            line.append("-" if slow is None else _brief(slow))
        table.append(line)
    return table


def _brief(cell: Cell) -> str:
    return f"{cell.outage.median:.1f} ({cell.outage.p99:.1f})"


def _dual(cell: Cell, figure: float) -> str:
    return f"{'> ' if cell.dual_to_end else ''}{figure:.0f}"


def _full(rows: Sequence[Row]) -> Table:
    table = [list(FULL)]
    for row in rows:
        for cell in row.cells:
            failed = f" ({cell.failed} failed)" if cell.failed else ""
            dual = f"{'> ' if cell.dual_to_end else ''}{cell.dual}"
            counts = [f"{count} of {cell.runs}" for count in (cell.still_answers, cell.still_has_it)]
            line = [
                row.title,
                cell.product,
                f"{cell.runs}{failed}",
                str(cell.outage),
                _taken(cell),
                str(cell.after),
                dual,
                *counts,
            ]
            table.append(line)
    return table


def _taken(cell: Cell) -> str:
    return "-" if cell.taken is None else str(cell.taken)


def _cost(costs: Sequence[Cost]) -> Table:
    return [
        list(COST),
        *(
            [one.product, f"{one.cpu_percent:.2f}", f"{one.pss_mib:.1f}", f"{one.rss_mib:.1f}", f"{one.processes:g}"]
            for one in costs
        ),
    ]


def _where_they_are_faster(report: Report) -> list[str]:
    found = faster(report.rows, OURS, THEIRS)
    lines = [f"- {sentence}." for sentence in found]
    costs = {cost.product: cost for cost in report.costs}
    if OURS in costs and THEIRS in costs:
        ours, theirs = costs[OURS], costs[THEIRS]
        if theirs.cpu_percent < ours.cpu_percent:
            lines.append(
                f"- Processor in the steady state: {theirs.cpu_percent:.2f} % beside {ours.cpu_percent:.2f} %."
            )
        if theirs.pss_mib < ours.pss_mib:
            lines.append(f"- Memory: {theirs.pss_mib:.1f} MiB beside {ours.pss_mib:.1f} MiB.")
    return lines or ["In no fault of this run."]


def _aligned(table: Table) -> str:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _piped(table: Table) -> list[str]:
    head, *body = table
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in body)]
