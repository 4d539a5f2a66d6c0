"""lab: a real cluster in network namespaces on this machine, and every fault as a verb."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from haagent.cli.invocation import Invocation
from haagent.cli.outcome import Failure

if TYPE_CHECKING:
    from haagent.lab import Lab
    from haagent.lab.faults import Whom

F = TypeVar("F", bound=Callable[..., Any])
READY_S = 20.0  # agents that hear each other need a second; one that hears nobody waits 5 s first

name_option = click.option("--name", default="lab", show_default=True, help="Several labs may be up at once.")


def cluster_options(command: F) -> F:
    """How the cluster is made: `up` and `demo` alike."""
    for option in reversed(
        [
            click.option("--nodes", default=2, show_default=True, type=click.IntRange(1, 8)),
            click.option("--witness", is_flag=True, help="One more node, which votes and holds nothing."),
            name_option,
            click.option("--interval", default="100ms", show_default=True, help="Between heartbeats."),
            click.option("--lease", default="", help="Of a holder. [3.5 x interval]"),
            click.option("--on-partition", type=click.Choice(["consistent", "available"])),
            click.option("--transport", type=click.Choice(["multicast", "unicast"]), default="multicast"),
            click.option(
                "--links", default=1, show_default=True, type=click.IntRange(1, 2), help="Interfaces per node."
            ),
            click.option("--config", metavar="FILE", default="", help="YAML laid over the lab's configuration."),
        ]
    ):
        command = option(command)
    return command


@contextmanager
def lab_errors() -> Iterator[None]:
    """A LabError is a sentence for the operator; a polite request to end is as good as Ctrl-C."""
    from haagent.lab import LabError

    def end(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        yield
    except LabError as error:
        raise Failure(str(error)) from error


def opened(name: str) -> Lab:
    from haagent.lab import Lab

    return Lab.open(name)


@click.group()
def lab() -> None:
    """A real cluster in network namespaces on this machine.

    Hosts with a real agent each, a switch and a client; no virtual machine, no container, and no root where the
    kernel lets users have namespaces. Begin with `haagent lab demo` or `haagent lab up`.
    """


@lab.command()
@cluster_options
@click.pass_obj
def up(invocation: Invocation, /, *, name: str, nodes: int, witness: bool, links: int, **wishes: str | None) -> None:
    """Build the hosts and start their agents."""
    with lab_errors():
        from haagent.lab.demo import next_steps

        started_s = time.monotonic()
        made = _create(invocation, name=name, nodes=nodes, witness=witness, links=links, wishes=wishes, dies=False)
        try:
            made.wait_ready(within_s=READY_S)
            holder = made.agents.holder() or "A"
        except BaseException:
            made.down()
            raise
        took_s = time.monotonic() - started_s
        text = f"ready after {took_s:.1f} s: {holder} holds the address\n{next_steps(name, holder)}"
        invocation.tell({"name": name, "directory": str(made.directory), "holder": holder, "took_s": took_s}, text)


def _create(
    invocation: Invocation,
    *,
    name: str,
    nodes: int,
    witness: bool,
    links: int,
    wishes: dict[str, str | None],
    dies: bool,
) -> Lab:
    from haagent.lab import Lab, Wishes

    given = {("extra" if key == "config" else key): value or "" for key, value in wishes.items()}
    return Lab.create(
        name=name,
        nodes=nodes,
        has_witness=witness,
        links=links,
        wishes=Wishes(**given),
        dies_with_us=dies,
        tell=invocation.progress,
    )


@lab.command()
@cluster_options
@click.option("--keep", is_flag=True, help="Leave the cluster up to look around.")
@click.pass_obj
def demo(
    invocation: Invocation, /, *, keep: bool, name: str, nodes: int, witness: bool, links: int, **wishes: str | None
) -> None:
    """See a host lost and a planned move, with the outage a client measured. Half a minute."""
    with lab_errors():
        import msgspec

        from haagent.lab.demo import GROUP, next_steps, play, table

        made = _create(invocation, name=name, nodes=nodes, witness=witness, links=links, wishes=wishes, dies=not keep)
        try:
            made.wait_ready(within_s=READY_S)
            seen = play(made, invocation.progress)
            holder = made.agents.holder(GROUP) or "A"
        except BaseException:
            made.down()
            raise
        text = table(seen) + (f"\n\nThe cluster is still up.{next_steps(name, holder)}" if keep else "")
        if not keep:
            made.down()
        invocation.tell({"acts": msgspec.to_builtins(seen), "kept": keep}, text)


@lab.command()
@name_option
@click.pass_obj
def down(invocation: Invocation, *, name: str) -> None:
    """End a lab: every process, and with them every namespace. Fine to repeat."""
    with lab_errors():
        from haagent.lab.cluster import Lab
        from haagent.lab.state import directory_of

        was_there = Lab(directory_of(name)).down()
        invocation.tell({"name": name, "was_up": was_there}, f"lab {name} {'is down' if was_there else 'was not up'}")


@lab.command()
@name_option
@click.pass_obj
def status(invocation: Invocation, *, name: str) -> None:
    """Show the hosts, what each agent sees, and the faults in force."""
    with lab_errors():
        from haagent.lab.overview import look, sentences

        facts = look(opened(name))
        invocation.tell(facts, "\n".join(sentences(facts)))


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def execute(*, name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST (a node, `client` or `switch`); a shell if none is given.

    `haagent` there talks to the agent of that node: `haagent lab exec A haagent status`.
    """
    with lab_errors():
        found = opened(name)
        words = found.command_line(host, command or [os.environ.get("SHELL", "/bin/sh")])
        environment = found.environment_on(host)
    sys.stdout.flush()
    os.execvpe(words[0], words, environment)  # noqa: S606 - its terminal, its exit status: it replaces us


@lab.command()
@name_option
@click.argument("node")
@click.option("--guardian", "whom", flag_value="guardian", help="The process above the agent instead.")
@click.option("--all", "whom", flag_value="all", help="Both at the same time.")
@click.option("--signal", "signal_name", type=click.Choice(["KILL", "TERM"]), default="KILL", show_default=True)
def kill(*, name: str, node: str, whom: Whom | None, signal_name: str) -> None:
    """Kill the agent of NODE: its guardian releases what it held. TERM stops it as systemd does."""
    with lab_errors():
        if signal_name == "TERM":
            opened(name).agents.signal(node, signal.SIGTERM)
        else:
            opened(name).faults.kill(node, whom=whom or "agent")


@lab.command()
@name_option
@click.argument("node")
def crash(*, name: str, node: str) -> None:
    """Lose the host NODE: its cables pulled, all its processes killed. `start` boots it."""
    with lab_errors():
        opened(name).faults.crash(node)


@lab.command()
@name_option
@click.argument("node")
def start(*, name: str, node: str) -> None:
    """Start the agent of NODE again; a lost host boots first."""
    with lab_errors():
        opened(name).start(node)


@lab.command()
@name_option
@click.argument("node")
def freeze(*, name: str, node: str) -> None:
    """Stop every process of NODE's agent (SIGSTOP), as a stalled hypervisor does."""
    with lab_errors():
        opened(name).faults.freeze(node)


@lab.command()
@name_option
@click.argument("node")
def thaw(*, name: str, node: str) -> None:
    """Let a frozen agent go on."""
    with lab_errors():
        opened(name).faults.thaw(node)


def pair(words: tuple[str, ...]) -> list[str]:
    """`A B` and `A from B` are the same."""
    names = [word for word in words if word != "from"]
    if len(names) > 2:
        raise click.UsageError("Two hosts at most, as in `haagent lab cut A from B`.")
    return names


@lab.command()
@name_option
@click.argument("hosts", nargs=-1, required=True)
@click.option("--one-way", is_flag=True, help="Only what the first sends is lost.")
def cut(*, name: str, hosts: tuple[str, ...], one_way: bool) -> None:
    """Let no frame pass: `cut A from B`, or `cut A` from everybody. The carrier stays, as behind a dead switch."""
    with lab_errors():
        opened(name).faults.cut(*pair(hosts), one_way=one_way)


@lab.command()
@name_option
@click.argument("hosts", nargs=-1)
def heal(*, name: str, hosts: tuple[str, ...]) -> None:
    """End cuts and losses: `heal A from B`, `heal A`, or all there are (cables too)."""
    with lab_errors():
        opened(name).faults.heal(*pair(hosts))


@lab.command()
@name_option
@click.argument("host")
@click.argument("to", type=click.Choice(["up", "down"]))
@click.option("--link", "interface", default="eth0", show_default=True)
def link(*, name: str, host: str, to: str, interface: str) -> None:
    """Pull or plug a cable of HOST: it loses or regains its carrier."""
    with lab_errors():
        opened(name).faults.link(host, to, link=interface)


@lab.command()
@name_option
@click.argument("host")
@click.argument("percent", type=click.FloatRange(0, 100))
def lose(*, name: str, host: str, percent: float) -> None:
    """Lose so many percent of HOST's frames, each way; 0 ends it."""
    with lab_errors():
        opened(name).faults.lose(host, percent)


@lab.command()
@name_option
@click.argument("node")
def logs(*, name: str, node: str) -> None:
    """Print what the agent of NODE has logged."""
    with lab_errors():
        found = opened(name)
        found.state().plan.node(node)
        path = found.agents.log(node)
        click.echo(path.read_text(errors="replace") if path.exists() else "", nl=False)


@lab.command()
@name_option
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1, 600))
@click.pass_obj
def probe(invocation: Invocation, *, name: str, seconds: float) -> None:
    """Ask for the address every millisecond from the client, and tell every outage."""
    with lab_errors():
        import msgspec

        with opened(name).probe() as running:
            time.sleep(seconds)
        outages = running.outages()
        lines = []
        for outage in outages:
            who = ", then ".join(outage.answered_by) or "nobody"
            lines.append(f"{outage.address}: longest gap {outage.worst_ms:.1f} ms, answered by {who}")
            lines += [f"  {gap.ms:8.1f} ms   {gap.before or '-'} -> {gap.after or '-'}" for gap in outage.gaps]
            lines.append(f"  two hosts answered at once for {outage.dual_ms:g} ms; p99 {outage.gap_p99_ms:.1f} ms")
        invocation.tell({"outages": msgspec.to_builtins(outages)}, "\n".join(lines))
