"""simulate: what this configuration would do about a fault, told before anybody dares to cause it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import DONE, FAILED, USAGE, Failure
from haagent.cli.style import BOLD, RED, Style
from haagent.simulate.language import described

if TYPE_CHECKING:
    from haagent.config import Config
    from haagent.simulate import Account, Line, Scenario, Simulation

MAX_BYTES = 64 * 1024  # of a scenario

EPILOG = f"""\b
Statements, one per line or separated by `;`. `#` starts a comment:

\b
{described()}

`at 5s STATEMENT` says when, `after 2s STATEMENT` how long after the statement before it. A statement without a time
happens together with the one before it. Write nodes as `A, B and C`. Every node starts at 0 s, except those that a
`start` brings in later.
"""


@click.command(epilog=EPILOG)
@click.argument("file", metavar="[SCENARIO]", required=False)
@click.option("--config", "config_file", type=click.Path(), default=CONFIG, show_default=True)
@click.option("-e", "inline", metavar="STATEMENTS", help="Statements instead of a file.")
@click.option("--group", default="", help="Show only this group, and the scenario's statements.")
@click.option(
    "--seed",
    type=int,
    help="Clocks drift, timers are late, a datagram takes 0.2 to 2 ms. [none of this]",
)
@click.pass_obj
def simulate(
    invocation: Invocation, file: str | None, *, config_file: str, inline: str | None, group: str, seed: int | None
) -> int:
    """Play SCENARIO (a file, or - for stdin) against a configuration, in virtual time.

    Prints what each node decides and why, and how long no node, or more than one, answered for a group. The deciding
    code is the one that runs in production. A datagram takes 1 ms, starting to serve an address 1 ms, stopping 0.5 ms.
    """
    from haagent.config import check
    from haagent.simulate import ScenarioError, read
    from haagent.simulate import simulate as run

    name, text = _scenario(file, inline)
    config = check(config_file)
    try:
        scenario = read(text, config.settings(), name=name)
    except ScenarioError as error:
        faults = [{"line": fault.line, "message": fault.message, "hint": fault.hint} for fault in error.faults]
        raise Failure(str(error), status=USAGE, details={"faults": faults}) from error
    simulation = run(config.settings(), scenario, seed=seed, has_gate=config.gate != "off")
    simulation = _only(simulation, group, config) if group else simulation
    is_broken = not _allows_two(config) and any(one.two_at_once for one in simulation.accounts)
    if invocation.json:
        invocation.tell(_facts(simulation, config, scenario, seed))
    else:
        click.echo(_text(simulation, config, Style.of_stdout()))
    return FAILED if is_broken else DONE


def _only(simulation: Simulation, group: str, config: Config) -> Simulation:
    import msgspec

    if group not in config.groups:
        text = f"This configuration has no group `{group}`. There are {', '.join(config.groups)}."
        raise Failure(text, status=USAGE)
    return msgspec.structs.replace(
        simulation,
        lines=tuple(line for line in simulation.lines if line.group == group or line.kind in ("fault", "refused")),
        accounts=tuple(account for account in simulation.accounts if account.group == group),
    )


def _scenario(file: str | None, inline: str | None) -> tuple[str, str]:
    """Its name, for faults, and its text."""
    if (file is None) == (inline is None):
        text = "Name one scenario: a file, - for stdin, or -e 'at 5s kill A; until 20s'."
        raise Failure(text, status=USAGE)
    if inline is not None:
        return "-e", inline
    assert file is not None
    try:
        if file == "-":
            return "stdin", sys.stdin.read(MAX_BYTES)
        with open(file, encoding="utf-8") as opened:
            return file, opened.read(MAX_BYTES)
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}. Name a file with a scenario.", status=USAGE) from error
    except UnicodeDecodeError as error:
        raise Failure(f"{file} is not a scenario: its text is not UTF-8.", status=USAGE) from error


def _text(simulation: Simulation, config: Config, style: Style) -> str:
    node_width = max(len(name) for name in config.nodes)
    group_width = max([len(name) for name in config.groups] + [1])
    lines = [_line(line, node_width, group_width, style) for line in simulation.lines]
    lines.append(f"{simulation.until_s:9.3f}  the end")
    told = [_account(account, config, style) for account in simulation.accounts]
    return "\n".join([*lines, "", *told])


def _line(line: Line, node_width: int, group_width: int, style: Style) -> str:
    if line.kind == "fault":
        return style.paint(f"{line.time_s:9.3f}  >> {line.text}", BOLD)
    kind = style.kind(line.kind)
    return f"{line.time_s:9.3f}  {line.node:<{node_width}}  {line.group or '-':<{group_width}}  {kind} {line.text}"


def _account(account: Account, config: Config, style: Style) -> str:
    if account.first_s is None and not account.holders:
        return f"{account.group}: no node has held it."
    said = [_holders(account), _outages(account)]
    if account.two_at_once:
        said += [style.paint(line, RED) for line in _two(account, config)]
    else:
        said.append("Two nodes never answered at once.")
    return f"{account.group}: " + f"\n{' ' * (len(account.group) + 2)}".join(said)


def _holders(account: Account) -> str:
    if not account.holders:
        return "no node holds it at the end."
    if len(account.holders) == 1:
        return f"{account.holders[0]} holds it, since {account.since_s or 0.0:.3f} s."
    return f"{' and '.join(account.holders)} hold it at the end."


def _outages(account: Account) -> str:
    longest = account.longest
    if longest is None:
        return "It was never without service."
    start, end = longest
    many = f"It was without service {len(account.outages)} times, {_span(account.without_s)} in all, at most"
    first = "It was without service once, for" if len(account.outages) == 1 else many
    return f"{first} {_span(end - start)} (from {start:.3f} s to {end:.3f} s)."


def _two(account: Account, config: Config) -> list[str]:
    first, last = account.two_at_once[0], account.two_at_once[-1]
    total_s = sum(one.end_s - one.start_s for one in account.two_at_once)
    names = " and ".join(sorted({name for one in account.two_at_once for name in one.nodes}))
    when = f"from {first.start_s:.3f} s to {last.end_s:.3f} s"
    what = f"TWO NODES ANSWERED AT ONCE for {_span(total_s)}: {names}, {when}."
    return [
        what,
        _allows_two(config) or "That must never happen: please report it, with everything that is needed to repeat it.",
    ]


def _allows_two(config: Config) -> str:
    if config.on_partition == "available":
        return "`on_partition: available` allows that; `consistent`, with three voters, does not."
    return "`gate: off` allows that: an agent that cannot act cannot release." if config.gate == "off" else ""


def _span(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"


def _facts(simulation: Simulation, config: Config, scenario: Scenario, seed: int | None) -> dict[str, Any]:
    import msgspec

    return {
        "cluster": config.cluster,
        "digest": config.digest,
        "on_partition": config.on_partition,
        "seed": seed,
        "until_s": round(scenario.until_s, 6),
        "timeline": [msgspec.structs.asdict(line) | {"time_s": round(line.time_s, 6)} for line in simulation.lines],
        "groups": [_group(account) for account in simulation.accounts],
    }


def _group(account: Account) -> dict[str, Any]:
    return {
        "name": account.group,
        "holders": list(account.holders),
        "first_held_s": None if account.first_s is None else round(account.first_s, 6),
        "without_s": round(account.without_s, 6),
        "longest_s": round(max((end - start for start, end in account.outages), default=0.0), 6),
        "outages": [{"from_s": round(start, 6), "to_s": round(end, 6)} for start, end in account.outages],
        "two_at_once": [
            {"nodes": list(one.nodes), "from_s": round(one.start_s, 6), "to_s": round(one.end_s, 6)}
            for one in account.two_at_once
        ],
    }
