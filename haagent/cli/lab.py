"""lab: a real cluster in network namespaces on this machine, and every fault as a verb."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from haagent.cli.invocation import Invocation
from haagent.cli.outcome import Failure, end_when_asked

if TYPE_CHECKING:
    from haagent.lab import Lab
    from haagent.lab.faults import Whom

Command = Callable[..., Any]
READY_S = 20.0  # agents that hear each other need a second; one that hears nobody waits 5 s first

name_option = click.option("--name", default="lab", show_default=True, help="Several labs may be up at once.")
# How the cluster is made: `up` and `demo` alike.
CLUSTER = (
    click.option("--nodes", default=2, show_default=True, type=click.IntRange(1, 8)),
    click.option("--witness", "has_witness", is_flag=True, help="One more node, which votes and holds nothing."),
    name_option,
    click.option("--interval", default="100ms", show_default=True, help="Between heartbeats."),
    click.option("--lease", default="", help="Of a holder. [3.5 x interval]"),
    click.option("--on-partition", type=click.Choice(["consistent", "available"])),
    click.option("--transport", type=click.Choice(["multicast", "unicast", "both"]), default="multicast"),
    click.option("--links", default=1, show_default=True, type=click.IntRange(1, 2), help="Interfaces per node."),
    click.option("--config", "extra", metavar="FILE", default="", help="YAML laid over the lab's configuration."),
)


def cluster_options(command: Command) -> Command:
    return functools.reduce(lambda below, option: option(below), reversed(CLUSTER), command)


class Verbs(click.Group):
    """A LabError is a sentence for the operator; a polite request to end is as good as Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        from haagent.lab import LabError

        end_when_asked()
        try:
            return super().invoke(ctx)
        except LabError as error:
            raise Failure(str(error)) from error


@click.group(cls=Verbs)
def lab() -> None:
    """A real cluster in network namespaces on this machine.

    Hosts with a real agent each, a switch and a client; no virtual machine, no container, and no root where the
    kernel lets users have namespaces. Begin with `haagent lab demo` or `haagent lab up`.
    """


def verb(name: str | None = None, **settings: Any) -> Callable[[Command], click.Command]:
    """A command about a lab that is up, which it takes as `there`."""

    def declare(command: Command) -> click.Command:
        @functools.wraps(command)
        def on_a_lab(*before: Any, name: str, **said: Any) -> Any:
            from haagent.lab import Lab

            return command(*before, there=Lab.open(name), **said)

        return lab.command(name, **settings)(name_option(on_a_lab))

    return declare


@contextmanager
def _made(
    invocation: Invocation,
    *,
    dies: bool,
    name: str,
    nodes: int,
    links: int,
    has_witness: bool,
    sessions: bool = False,
    **wishes: str | None,
) -> Iterator[Lab]:
    """A new lab whose agents hear each other; nothing is left of it if what is done with it fails."""
    from haagent.lab import Lab, Wishes

    made = Lab.create(
        name=name,
        nodes=nodes,
        has_witness=has_witness,
        links=links,
        spares=1 if sessions else 0,  # for the balancer
        wishes=Wishes(sessions=sessions, **{key: wish or "" for key, wish in wishes.items()}),
        dies_with_us=dies,
        tell=invocation.progress,
    )
    try:
        made.wait_ready(within_s=READY_S)
        yield made
    except BaseException:
        made.down()
        raise


@lab.command()
@cluster_options
@click.pass_obj
def up(invocation: Invocation, /, *, name: str, **asked: Any) -> None:
    """Build the hosts and start their agents."""
    from haagent.lab.demo import next_steps

    started_s = time.monotonic()
    with _made(invocation, dies=False, name=name, **asked) as made:
        holder = made.agents.holder() or "A"
    took_s = time.monotonic() - started_s
    text = f"ready after {took_s:.1f} s: {holder} holds the address\n{next_steps(name, holder)}"
    invocation.tell({"name": name, "directory": str(made.directory), "holder": holder, "took_s": took_s}, text)


@lab.command()
@cluster_options
@click.option("--keep", is_flag=True, help="Leave the cluster up to look around.")
@click.option("--sessions", is_flag=True, help="Another story: of a user of a shop, whose node is lost.")
@click.option("--shop", metavar="COMMAND", help="What each node runs as the shop. [examples/shop/shop.py]")
@click.pass_obj
def demo(invocation: Invocation, /, *, keep: bool, name: str, sessions: bool, shop: str | None, **asked: Any) -> None:
    """See a host lost and a planned move, with the outage a client measured. Half a minute."""
    import msgspec

    from haagent.lab.demo import GROUP, next_steps, play, table

    if shop and not sessions:
        raise click.UsageError("--shop goes with --sessions.")
    if sessions:
        tell_of_sessions(invocation, keep=keep, name=name, shop=shop, **asked)
        return
    with _made(invocation, dies=not keep, name=name, **asked) as made:
        seen = play(made, invocation.progress)
        holder = made.agents.holder(GROUP) or "A"
    text = table(seen)
    if keep:
        text += f"\n\nThe cluster is still up.{next_steps(name, holder)}"
    else:
        made.down()
    invocation.tell({"acts": msgspec.to_builtins(seen), "kept": keep}, text)


def tell_of_sessions(
    invocation: Invocation, /, *, keep: bool, name: str, shop: str | None, nodes: int, **asked: Any
) -> None:
    import msgspec

    from haagent.lab.demo import next_steps
    from haagent.lab.shopping import default_shop, play, require

    if nodes < 2:
        raise click.UsageError("--sessions needs two nodes: one of them is lost.")
    command = shlex.split(shop) if shop else default_shop()
    require(command)
    with _made(invocation, dies=not keep, name=name, nodes=nodes, sessions=True, **asked) as made:
        story = play(made, command, invocation.progress)
    text = (
        f"\nThe session outlived its host. {story.second} served the next page {story.lost_ms:.0f} ms after the loss; "
        f"{story.first} was ready {story.ready_ms:.0f} ms after its start, and served {story.back_ms:.0f} ms after it."
    )
    if keep:
        text += f"\n\nThe cluster is still up.{next_steps(name, story.first)}"
    else:
        made.down()
    invocation.tell(msgspec.to_builtins(story) | {"kept": keep}, text)


@lab.command()
@name_option
@click.pass_obj
def down(invocation: Invocation, *, name: str) -> None:
    """End a lab: every process, and with them every namespace. Fine to repeat."""
    from haagent.lab.cluster import Lab
    from haagent.lab.state import directory_of

    was_there = Lab(directory_of(name)).down()
    invocation.tell({"name": name, "was_up": was_there}, f"lab {name} {'is down' if was_there else 'was not up'}")


@verb()
@click.pass_obj
def status(invocation: Invocation, *, there: Lab) -> None:
    """Show the hosts, what each agent sees, and the faults in force."""
    from haagent.lab.overview import look, sentences

    facts = look(there)
    invocation.tell(facts, "\n".join(sentences(facts)))


@verb("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def execute(*, there: Lab, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST (a node, `client` or `switch`); a shell if none is given.

    `haagent` there talks to the agent of that node: `haagent lab exec A haagent status`.
    """
    words = there.command_line(host, command or [os.environ.get("SHELL", "/bin/sh")])
    environment = there.environment_on(host)
    sys.stdout.flush()
    os.execvpe(words[0], words, environment)  # noqa: S606 - its terminal, its exit status: it replaces us


@verb()
@click.argument("node")
@click.option("--guardian", "whom", flag_value="guardian", help="The process above the agent instead.")
@click.option("--all", "whom", flag_value="all", help="Both at the same time.")
@click.option("--signal", "signal_name", type=click.Choice(["KILL", "TERM"]), default="KILL", show_default=True)
def kill(*, there: Lab, node: str, whom: Whom | None, signal_name: str) -> None:
    """Kill the agent of NODE: its guardian releases what it held. TERM stops it as systemd does."""
    if signal_name == "TERM":
        there.agents.signal(node, signal.SIGTERM)
    else:
        there.faults.kill(node, whom=whom or "agent")


@verb()
@click.argument("node")
def crash(*, there: Lab, node: str) -> None:
    """Lose the host NODE: its cables pulled, all its processes killed. `start` boots it."""
    there.faults.crash(node)


@verb()
@click.argument("node")
def start(*, there: Lab, node: str) -> None:
    """Start the agent of NODE again; a lost host boots first."""
    there.start(node)


@verb()
@click.argument("node")
def freeze(*, there: Lab, node: str) -> None:
    """Stop every process of NODE's agent (SIGSTOP), as a stalled hypervisor does."""
    there.faults.freeze(node)


@verb()
@click.argument("node")
def thaw(*, there: Lab, node: str) -> None:
    """Let a frozen agent go on."""
    there.faults.thaw(node)


def pair(words: tuple[str, ...]) -> list[str]:
    """`A B` and `A from B` are the same."""
    names = [word for word in words if word != "from"]
    if len(names) > 2:
        raise click.UsageError("Two hosts at most, as in `haagent lab cut A from B`.")
    return names


@verb()
@click.argument("hosts", nargs=-1, required=True)
@click.option("--one-way", is_flag=True, help="Only what the first sends is lost.")
def cut(*, there: Lab, hosts: tuple[str, ...], one_way: bool) -> None:
    """Let no frame pass: `cut A from B`, or `cut A` from everybody. The carrier stays, as behind a dead switch."""
    there.faults.cut(*pair(hosts), one_way=one_way)


@verb()
@click.argument("hosts", nargs=-1)
def heal(*, there: Lab, hosts: tuple[str, ...]) -> None:
    """End cuts and losses: `heal A from B`, `heal A`, or all there are (cables too)."""
    there.faults.heal(*pair(hosts))


@verb()
@click.argument("host")
@click.argument("to", type=click.Choice(["up", "down"]))
@click.option("--link", "interface", default="eth0", show_default=True)
def link(*, there: Lab, host: str, to: str, interface: str) -> None:
    """Pull or plug a cable of HOST: it loses or regains its carrier."""
    there.faults.link(host, to, link=interface)


@verb()
@click.argument("host")
@click.argument("percent", type=click.FloatRange(0, 100))
def lose(*, there: Lab, host: str, percent: float) -> None:
    """Lose so many percent of HOST's frames, each way; 0 ends it."""
    there.faults.lose(host, percent)


@verb()
@click.argument("node")
def logs(*, there: Lab, node: str) -> None:
    """Print what the agent of NODE has logged."""
    there.state().plan.node(node)
    path = there.agents.log(node)
    click.echo(path.read_text(errors="replace") if path.exists() else "", nl=False)


@verb()
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1, 600))
@click.pass_obj
def probe(invocation: Invocation, *, there: Lab, seconds: float) -> None:
    """Ask for the address every millisecond from the client, and tell every outage."""
    import msgspec

    with there.probe() as running:
        time.sleep(seconds)
    outages = running.outages()
    lines = []
    for outage in outages:
        who = ", then ".join(outage.answered_by) or "nobody"
        lines.append(f"{outage.address}: longest gap {outage.worst_ms:.1f} ms, answered by {who}")
        lines += [f"  {gap.ms:8.1f} ms   {gap.before or '-'} -> {gap.after or '-'}" for gap in outage.gaps]
        lines.append(f"  two hosts answered at once for {outage.dual_ms:g} ms; p99 {outage.gap_p99_ms:.1f} ms")
    invocation.tell({"outages": msgspec.to_builtins(outages)}, "\n".join(lines))
