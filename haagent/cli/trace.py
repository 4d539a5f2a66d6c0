"""trace save, replay: what an agent has decided lately, kept in a file, and decided again."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from haagent.cli.invocation import Invocation
from haagent.cli.outcome import DONE, FAILED, USAGE, Failure
from haagent.cli.saving import saved
from haagent.cli.style import RED, Style, moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from haagent.core.view import View
    from haagent.trace import Replay, Trace

ANSWER_S = 30.0  # for the next piece: the agent may be busy, and packs beside its work
CLOCK = re.compile(r"(?:(\d{4}-\d\d-\d\d)[ T])?(\d\d:\d\d:\d\d(?:\.\d{1,6})?)")


@click.group()
def trace() -> None:
    """What this agent was told and decided lately."""


@trace.command()
@click.argument("file", type=click.Path(), required=False)
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@click.pass_obj
def save(invocation: Invocation, file: str | None, *, force: bool) -> None:
    """Save the agent's recent inputs and decisions to FILE [haagent-NODE-TIME.trace].

    It reaches back some minutes. `haagent replay` runs it again, here or elsewhere. No keys are in it; names of nodes
    and groups, and what checks and hooks have said, are.
    """
    data, node = _fetch(invocation)
    if file is None:
        file = f"haagent-{node}-{time.strftime('%Y%m%dT%H%M%S')}.trace"
    with saved(file, replaces=force) as opened:
        opened.write(data)
    text = f"wrote {file} ({len(data)} bytes). `haagent replay {file}` runs it again."
    invocation.tell({"file": file, "node": node, "bytes": len(data)}, text)


def _fetch(invocation: Invocation) -> tuple[bytes, str]:
    import base64

    from haagent.trace import TraceError, read

    with invocation.agent() as agent:
        data = b"".join(base64.b64decode(event["data"]) for event in agent.follow("trace", answer_s=ANSWER_S))
    try:
        return data, read(data).header.node
    except TraceError as error:
        raise Failure(f"What the agent gave is of no use: {error}.") from error


# ---------------------------------------------------------------------- replay


@click.command()
@click.argument("file", type=click.Path())
@click.option("--at", "instant", metavar="TIME", help="What the node knew then: 12:03:07.5, or 90s from the beginning.")
@click.pass_obj
def replay(invocation: Invocation, file: str, *, instant: str | None) -> int:
    """Run the core over a saved trace, print what it decides, and compare that with what the agent decided.

    Exit status 1: this release decides otherwise somewhere; the first difference is shown.
    """
    from haagent.trace import TraceError
    from haagent.trace import replay as run

    at = None if instant is None else _instant(instant)
    try:
        recorded = _read(file)
        again = run(recorded, at=at)
    except TraceError as error:
        raise Failure(f"{file}: {error}.") from error
    if invocation.json:
        invocation.tell(_facts(recorded, again))
    else:
        click.echo(_text(recorded, again, Style.of_stdout()))
    return DONE if again.difference is None else FAILED


def _read(file: str) -> Trace:
    from haagent.trace import read
    from haagent.trace.file import MAX_BYTES

    try:
        with open(file, "rb") as opened:
            return read(opened.read(MAX_BYTES))
    except OSError as error:
        text = f"{file} cannot be read: {error.strerror}. Name a file that `haagent trace save` has written."
        raise Failure(text, status=USAGE) from error


def _instant(text: str) -> Callable[[float], float]:
    """From the wall clock of the first step to that of the instant meant."""
    found = CLOCK.fullmatch(text)
    if found is not None:
        day, clock = found.groups()
        clock += "" if "." in clock else ".0"

        def on_that_day(first: float) -> float:
            date = day or time.strftime("%Y-%m-%d", time.localtime(first))
            at = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S.%f").timestamp()
            return at + 86_400 if not day and at < first - 1 else at  # after midnight

        try:
            on_that_day(0.0)
        except ValueError as error:
            raise Failure(f"--at {text}: there is no such time.", status=USAGE) from error
        return on_that_day
    from haagent.config import NotADuration, parse_duration

    try:
        after_s = parse_duration(text)
    except NotADuration as error:
        text = f"--at {text}: write a time of day, 12:03:07.5, or a time since the beginning, 90s ({error})."
        raise Failure(text, status=USAGE) from error
    return lambda first: first + after_s


def _text(recorded: Trace, again: Replay, style: Style) -> str:
    header = recorded.header
    lines = [f"Trace of {header.node} in cluster {header.cluster}, release {header.release}, {_extent(again)}."]
    if not recorded.is_of_this_core:
        lines.append(style.paint(_other_core(recorded), RED))
    for told in again.timeline:
        lines.append(f"{moment(told.wall)}  {told.group or '-':<8} {style.kind(told.kind)} {told.text}")
    if again.view is not None:
        lines += ["", *_known(again.view)]
    lines += ["", *_verdict(again, style)]
    return "\n".join(lines)


def _extent(again: Replay) -> str:
    if again.first is None or again.last is None:
        return "nothing is in it"
    return f"{again.last - again.first:.1f} s from {moment(again.first)}"


def _other_core(recorded: Trace) -> str:
    from haagent import __version__
    from haagent.trace import core_digest

    header = recorded.header
    return (
        f"It was decided by another core: release {header.release} ({header.core}); this is {__version__} "
        f"({core_digest()}). What follows is what this one would have decided."
    )


def _verdict(again: Replay, style: Style) -> list[str]:
    steps = f"{again.steps:,} inputs"
    difference = again.difference
    if difference is None:
        return [f"Same decisions: {steps} gave the same {again.decisions:,} actions again."]
    return [
        style.paint(f"Other decisions, first at {moment(difference.wall)}, input {again.steps:,}:", RED),
        f"  told      {difference.event}",
        *(f"  recorded  {text}" for text in difference.recorded or ("nothing",)),
        *(f"  replayed  {text}" for text in difference.replayed or ("nothing",)),
    ]


def _known(view: View) -> list[str]:
    members = ", ".join(f"{member.name} {member.state.value}" for member in view.members)
    quorum = "quorum" if view.quorate else "no quorum"
    maintenance = ", maintenance is on" if view.maintenance else ""
    return [
        f"What {view.node} knew then: {members}; {quorum}{maintenance}.",
        *(f"{group.name}: here {group.state.value}; {group.why}." for group in view.groups),
    ]


def _facts(recorded: Trace, again: Replay) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(again, str_keys=True)
    if again.view is not None:
        facts["view"].pop("history")
    return {
        **msgspec.to_builtins(recorded.header),
        "core_matches": recorded.is_of_this_core,
        "same": again.difference is None,
        **facts,
    }
