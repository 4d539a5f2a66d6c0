"""What came of a campaign: a table per mode, one row per fault and whom it hit, as text or markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from haagent.lab.answers import spans
from trials.chaos.bounds import has_majority
from trials.chaos.campaign import Candidacy, Outcome
from trials.chaos.history import History, Violation
from trials.chaos.schedule import FAULTS, Mode, Strike

HEAD = ("fault", "runs", "in pairs", "min", "median", "p99", "max", "bound", "after, max", "two at once")
PAIR = "two faults at once"
NO_MAJORITY = "two faults at once, no majority left"
STALLED = "not judged: the machine stood still"
LAST = (PAIR, NO_MAJORITY, STALLED)
NOISE = "noise: nothing done"


class Row(msgspec.Struct, frozen=True):
    """Milliseconds."""

    fault: str
    runs: int  # alone, or what the row says
    in_pairs: int  # so often it came with another one
    outages: tuple[float, float, float, float]  # min, median, p99, max
    bound: float  # the largest that was granted; 0: none
    after: float
    dual: float


def rows(campaign: Candidacy) -> list[Row]:
    found: dict[str, list[Outcome]] = {}
    for outcome in campaign.outcomes:
        found.setdefault(label(outcome), []).append(outcome)
    paired = Counter(_name(strike) for one in campaign.outcomes if len(one.strikes) > 1 for strike in one.strikes)
    listed = [_row(name, found[name], paired[name]) for name in sorted(found, key=_order)]
    return [_noise(campaign.outcomes), *listed] if campaign.outcomes else []


def label(outcome: Outcome) -> str:
    if not outcome.seen.is_judged:
        return STALLED
    if len(outcome.strikes) > 1:
        return PAIR if has_majority(outcome.strikes) else NO_MAJORITY
    return _name(outcome.strikes[0])


def _name(strike: Strike) -> str:
    whom = {"holder": "", "other": " (of the other node)", "witness": " (of the witness)"}[strike.role]
    return f"{strike.fault}{whom}"


def _order(name: str) -> tuple[int, int, str]:
    if name in LAST:
        return (2, LAST.index(name), name)
    fault = name.partition(" (of ")[0]
    return (int(name != fault), list(FAULTS).index(fault), name)


def _row(name: str, outcomes: Sequence[Outcome], in_pairs: int) -> Row:
    seen = [outcome.seen for outcome in outcomes]
    return Row(
        fault=name,
        runs=len(seen),
        in_pairs=in_pairs,
        outages=spread([one.outage_ms for one in seen]),
        bound=max(one.bound_ms for one in seen),
        after=max(one.after_ms for one in seen),
        dual=max(one.dual_ms for one in seen),
    )


def _noise(outcomes: Sequence[Outcome]) -> Row:
    return Row(NOISE, len(outcomes), 0, spread([one.seen.noise_ms for one in outcomes]), 0.0, 0.0, 0.0)


def spread(figures: Iterable[float]) -> tuple[float, float, float, float]:
    """min, median, p99, max; p99 by nearest rank, so it is one of the figures."""
    ordered = sorted(figures)
    rank = max(0, -(-len(ordered) * 99 // 100) - 1)
    return (ordered[0], median(ordered), ordered[rank], ordered[-1])


def _cells(row: Row) -> list[str]:
    bound = f"{row.bound:.0f}" if row.bound else "-"
    spread = [f"{figure:.1f}" for figure in row.outages]
    return [row.fault, str(row.runs), str(row.in_pairs), *spread, bound, f"{row.after:.1f}", f"{row.dual:g}"]


def text(campaign: Candidacy) -> str:
    table = [list(HEAD), *(_cells(row) for row in rows(campaign))]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    return "\n".join([heading(campaign), "", *lines, "", *_violations(campaign)])


def page(campaigns: Sequence[Candidacy]) -> str:
    """Markdown, all of it."""
    minutes = sum(campaign.took_s for campaign in campaigns) / 60
    command = f"make chaos MINUTES={minutes:.0f} SEED={campaigns[0].seed}"
    return "\n".join([f"# Chaos campaign\n\n{_OPENING}\n\n```\n{command}\n```\n", *map(markdown, campaigns)])


_OPENING = """\
Real agents in network namespaces, random faults from a seed, sometimes two at once (*in pairs*: how often this one was
one of the two). A client asks for the addresses of two groups (IPv4 and IPv6) every millisecond and asks each node
directly as well, so that it is seen who answers, and who else would. Milliseconds. *Outage*: the longest time between
two answered requests that began under the fault; *after*: the longest that began when all was mended. *Two at once*:
how long an old holder went on answering what was asked after the new one's first answer had come. *Bound*: the most
that the judge granted (`trials/chaos/bounds.py`), with the noise and the prober's own delay of that run in it. The
nodes' clocks are *steered* away from their hardware counters by up to 10 %, all alike, or one of them *too far*; the
kernel's lock *RTNL is held*, for up to 0.8 s at a time; a *twin* is a second host with a node's name; a *hook hangs* in
its exec while the group moves; one node is *reloaded* with another hook, another first choice, or without a check; two
addresses are *swapped* between the groups, and one is with nobody until the second holder is reloaded too. To repeat
the schedule (what the machine adds is its own):"""


def markdown(campaign: Candidacy) -> str:
    lines = [f"## {heading(campaign)}", "", f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * (len(HEAD) - 1)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows(campaign)]
    return "\n".join([*lines, "", *_violations(campaign), ""])


def heading(campaign: Candidacy) -> str:
    nodes = "two nodes and a witness" if campaign.mode is Mode.CONSISTENT else "two nodes"
    return (
        f"`{campaign.mode.value}`, {nodes}, interval {campaign.interval}, lease {campaign.lease_s * 1e3:g} ms: "
        f"{len(campaign.outcomes)} episodes in {campaign.took_s / 60:.1f} minutes, seed {campaign.seed}"
    )


def _violations(campaign: Candidacy) -> list[str]:
    missing = [] if campaign.has_guardian else ["There was no guardian: its faults were left out."]
    if not campaign.has_clock:
        missing.append("There was no C compiler: no clock was stepped.")
    if not campaign.has_rtnl:
        missing.append("The kernel's lock could not be held here: that fault was left out.")
    if starved := [one.seen.starved_ms for one in campaign.outcomes if not one.seen.is_judged]:
        missing.append(
            f"The outages of {len(starved)} episodes were not judged: the machine let an ordinary process wait for up "
            f"to {max(starved):.0f} ms, more than an interval. Who answered was judged in all."
        )
    if not campaign.violations:
        return ["No violation.", *missing]
    lines = [f"{len(campaign.violations)} violations:"]
    for outcome, violation in campaign.violations:
        lines.append(
            f"- episode {outcome.number} ({label(outcome)}), {violation.law}: {violation.text}; {outcome.saved}"
        )
    return lines + missing


def plain(campaign: Candidacy) -> dict[str, object]:
    """For --json."""
    return {
        **{
            name: getattr(campaign, name)
            for name in ("seed", "interval", "lease_s", "took_s", "has_guardian", "has_clock", "has_rtnl")
        },
        "mode": campaign.mode.value,
        "rows": msgspec.to_builtins(rows(campaign)),
        "episodes": msgspec.to_builtins(campaign.outcomes),
    }


def text_of(history: History, violations: Sequence[Violation]) -> str:
    """One record, told again."""
    lines = [f"seed {history.seed}, episode {history.number}, {history.mode.value}: {history.holder} held"]
    for blow in history.blows:
        began, ended = blow.started_s - history.began_s, blow.mended_s - history.began_s
        lines.append(f"  {began:8.3f} to {ended:.3f}: {blow.strike.fault} ({blow.node})")
    for trace in history.traces:
        for span in sorted(spans(trace), key=lambda span: span.since_s):
            began, ended = span.since_s - history.began_s, span.until_s - history.began_s
            lines.append(f"  {began:8.3f} to {ended:.3f}: {span.node} answered for {trace.address}")
    return "\n".join([*lines, *(f"VIOLATION {one.law}: {one.text}" for one in violations or [])])
