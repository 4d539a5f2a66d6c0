"""The faults as deeds on a lab: each is struck and mended.

What cannot be done any more (the process is dead already) is passed over in silence: the schedule hits whatever is
there, as life does.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from haagent.control.client import Client, ControlError
from haagent.lab import Lab, LabError, processes
from haagent.lab.plan import VIP4, VIP6
from trials.chaos import clock
from trials.chaos.schedule import Strike

Deed = Callable[[Lab, str, Strike], None]
REMOVED = (f"{VIP4}/24", f"{VIP6}/64")


class Deeds(NamedTuple):
    strike: Deed
    mend: Deed


def _nothing(_lab: Lab, _name: str, _strike: Strike) -> None:
    """It mends itself, or is mended by itself."""


def _kill_agent(lab: Lab, name: str, _strike: Strike) -> None:
    if agent := lab.agents.tree(name).deciding:
        agent.send(signal.SIGKILL)


def _kill_guardian(lab: Lab, name: str, _strike: Strike) -> None:
    if guardian := lab.agents.tree(name).guardian:
        guardian.send(signal.SIGKILL)


def _kill_all(lab: Lab, name: str, _strike: Strike) -> None:
    """At one stroke, as the kernel kills a control group: frozen first, so that nobody has last words."""
    found = lab.agents.tree(name).everybody
    processes.freeze_all(found)
    processes.send_all(found, signal.SIGKILL)


def _terminate(lab: Lab, name: str, _strike: Strike) -> None:
    if root := lab.agents.tree(name).root:
        root.send(signal.SIGTERM)


def _start(lab: Lab, name: str, _strike: Strike) -> None:
    """As systemd would: when the whole tree has ended, which what is frozen cannot."""
    found = lab.agents.tree(name)
    processes.send_all(found.everybody, signal.SIGCONT)
    if left := processes.wait_gone(found.everybody, within_s=10):
        raise LabError(f"processes {[process.pid for process in left]} of {name} do not end")
    lab.start(name)


def _freeze_agent(lab: Lab, name: str, _strike: Strike) -> None:
    if agent := lab.agents.tree(name).deciding:
        agent.send(signal.SIGSTOP)


def _freeze_all(lab: Lab, name: str, _strike: Strike) -> None:
    processes.freeze_all(lab.agents.tree(name).everybody)


def _thaw(lab: Lab, name: str, _strike: Strike) -> None:
    processes.send_all(lab.agents.tree(name).everybody, signal.SIGCONT)


def _lose_host(lab: Lab, name: str, _strike: Strike) -> None:
    lab.faults.crash(name)


def _boot(lab: Lab, name: str, _strike: Strike) -> None:
    lab.start(name)


def _pull(lab: Lab, name: str, _strike: Strike) -> None:
    lab.faults.link(name, "down")


def _plug(lab: Lab, name: str, _strike: Strike) -> None:
    if not lab.state().hosts[name].crashed:
        lab.faults.link(name, "up")


def _cut_from_nodes(lab: Lab, name: str, _strike: Strike) -> None:
    for peer in _peers(lab, name):
        lab.faults.cut(name, peer)


def _deafen(lab: Lab, name: str, _strike: Strike) -> None:
    for peer in _peers(lab, name):
        lab.faults.cut(peer, name, one_way=True)


def _mute(lab: Lab, name: str, _strike: Strike) -> None:
    for peer in _peers(lab, name):
        lab.faults.cut(name, peer, one_way=True)


def _isolate(lab: Lab, name: str, _strike: Strike) -> None:
    lab.faults.cut(name)


def _lose_frames(lab: Lab, name: str, strike: Strike) -> None:
    lab.faults.lose(name, strike.amount)


def _heal(lab: Lab, name: str, _strike: Strike) -> None:
    lab.faults.heal(name)


def _flush_rules(lab: Lab, name: str, _strike: Strike) -> None:
    lab.run(name, ["nft", "flush", "ruleset"])


def _remove_address(lab: Lab, name: str, _strike: Strike) -> None:
    for address in REMOVED:  # it may be gone by another fault
        lab.run(name, ["ip", "address", "del", address, "dev", "eth0"], checks=False)


def _step_clock(lab: Lab, name: str, strike: Strike) -> None:
    clock.step(lab.run_directory(name), strike.amount)


def _set_clock(lab: Lab, name: str, _strike: Strike) -> None:
    clock.step(lab.run_directory(name), 0.0)


def _move(lab: Lab, name: str, _strike: Strike) -> None:
    """Given, not waited for: the campaign goes on. It may be refused, when the other node is not well."""
    other = next(node.name for node in lab.state().plan.nodes if node.name != name and not node.witness)
    with suppress(ControlError), Client(str(lab.run_directory(name))) as client:
        client.ask("failover", wait_s=0.0, group="web", to=other, force=False)


def _peers(lab: Lab, name: str) -> list[str]:
    return [node.name for node in lab.state().plan.nodes if node.name != name]


DEEDS: dict[str, Deeds] = {
    "agent killed": Deeds(_kill_agent, _start),
    "guardian killed": Deeds(_kill_guardian, _start),
    "agent and guardian killed": Deeds(_kill_all, _start),
    "agent restarted": Deeds(_terminate, _start),
    "agent frozen": Deeds(_freeze_agent, _thaw),
    "everything frozen": Deeds(_freeze_all, _thaw),
    "host lost": Deeds(_lose_host, _boot),
    "link down": Deeds(_pull, _plug),
    "cut from the nodes": Deeds(_cut_from_nodes, _heal),
    "deaf to the nodes": Deeds(_deafen, _heal),
    "mute to the nodes": Deeds(_mute, _heal),
    "cut from everybody": Deeds(_isolate, _heal),
    "frames lost": Deeds(_lose_frames, _heal),
    "rules flushed": Deeds(_flush_rules, _nothing),
    "address removed": Deeds(_remove_address, _nothing),
    "clock stepped": Deeds(_step_clock, _set_clock),
    "planned move": Deeds(_move, _nothing),
}
