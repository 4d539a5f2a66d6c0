"""doctor: preflight of this host and of the way to its peers."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import FAILED
from haagent.cli.style import BOLD, GREEN, RED, YELLOW, Style

if TYPE_CHECKING:
    from haagent.doctor.finding import Finding

WIDTH = 100
COLOURS = {"error": RED, "warning": YELLOW, "info": BOLD, "ok": GREEN}


@click.command()
@click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True)
@click.option("--node", help="Which node this host is. [by host name, else by its addresses]")
@click.pass_obj
def doctor(invocation: Invocation, file: str, *, node: str | None) -> None:
    """Examine this host and the way to its peers: what would keep the cluster from working, and what mends it.

    Takes about two seconds and changes nothing. Exit status 1: there are errors. Run it as root, on every node,
    before the first start and after each change of the network.
    """
    import asyncio

    from haagent.config import load
    from haagent.doctor.context import subject_of
    from haagent.doctor.examination import examine
    from haagent.doctor.finding import Severity

    is_before_setup = file == CONFIG and node is None and not os.path.lexists(file)
    config = None if is_before_setup else load(file, node=node)
    subject = subject_of(config, run_dir=invocation.run_dir, state_dir=invocation.state_dir)
    findings = asyncio.run(examine(subject))
    counts = {severity.value: sum(one.severity is severity for one in findings) for severity in Severity}
    facts = {
        "ok": not counts["error"],
        "cluster": config.cluster if config else "",
        "node": config.me if config else "",
        "counts": counts,
        "findings": [
            {name: str(getattr(one, name)) for name in ("check", "severity", "what", "why", "mend")} for one in findings
        ],
    }
    invocation.tell(facts, _text(findings, counts, Style.of_stdout()))
    if counts["error"]:
        raise click.exceptions.Exit(FAILED)


def _text(findings: Iterable[Finding], counts: dict[str, int], style: Style) -> str:
    parts = [_paragraph(one, style) for one in sorted(findings, key=lambda one: one.severity == "ok")]
    words = [f"{count} {name}{'s' if count != 1 and name != 'ok' else ''}" for name, count in counts.items()]
    return "\n".join([*parts, ", ".join(words)])


def _paragraph(one: Finding, style: Style) -> str:
    name = one.severity.value
    head = textwrap.wrap(f"{one.check}: {one.what}.", WIDTH - 9, break_long_words=False, break_on_hyphens=False)
    lines = [f"{style.paint(name.ljust(7), COLOURS[name])}  {head[0]}", *(f"{'':9}{line}" for line in head[1:])]
    if one.why:
        lines += [f"{'':9}{line}" for line in textwrap.wrap(one.why, WIDTH - 9)]
    if one.mend:
        lines.append(f"{'':9}-> {one.mend}")  # not wrapped: to be copied
    return "\n".join(lines)
