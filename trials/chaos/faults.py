"""The faults as deeds on a lab: each is struck and mended, on entering a context and on leaving it.

What cannot be done any more (the process is dead already) is passed over in silence: the schedule hits whatever is
there, as life does.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from haagent.lab import Lab, LabError, processes
from haagent.lab.plan import VIP4, VIP6
from trials.chaos import busy_kernel, clock, files
from trials.chaos.cluster import GROUP, OTHER, SPARE, exchanged, move
from trials.chaos.schedule import SWAP, Strike
from trials.chaos.slow_disk import hanging
from trials.chaos.steered_agent import steer

Act = Callable[[Lab, str, Strike], None]
Deed = Callable[[Lab, str, Strike], AbstractContextManager[None]]
REMOVED = (f"{VIP4}/24", f"{VIP6}/64", f"{OTHER}/24")
TWIN_STARTS_S, TWIN_ENDS_S = 20.0, 5.0
LONGEST_REST_S = 0.15  # between the reloads of one node and the next


def _nothing(_lab: Lab, _name: str, _strike: Strike) -> None:
    """It mends itself, or is mended by itself."""


def _kill_agent(lab: Lab, name: str, _strike: Strike) -> None:
    if agent := lab.agents.tree(name).deciding:
        agent.send(signal.SIGKILL)


def _kill_guardian(lab: Lab, name: str, _strike: Strike) -> None:
    if guardian := lab.agents.tree(name).guardian:
        guardian.send(signal.SIGKILL)


def _kill_all(lab: Lab, name: str, _strike: Strike) -> None:
    """At one stroke, as the kernel kills a control group: frozen first, so that nobody has last words. Listed again
    then, for who was forked meanwhile: a hook that hangs would outlive them."""
    processes.freeze_all(lab.agents.tree(name).everybody)
    processes.send_all(lab.agents.tree(name).everybody, signal.SIGKILL)


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
    move(lab, GROUP, away_from=name)


def _peers(lab: Lab, name: str) -> list[str]:
    return [node.name for node in lab.state().plan.nodes if node.name != name]


def _from_to(strike: Act, mend: Act) -> Deed:
    @contextmanager
    def in_force(lab: Lab, name: str, aimed: Strike) -> Iterator[None]:
        strike(lab, name, aimed)
        yield
        mend(lab, name, aimed)

    return in_force


@contextmanager
def _steer_all(lab: Lab, _name: str, strike: Strike) -> Iterator[None]:
    """Seen from here: their counters agree with each other, as those of real hosts do."""
    directories = [lab.state_directory(host.name) for host in lab.state().plan.servers]
    steer(directories, strike.amount / 100)
    yield
    steer(directories, 0.0)


@contextmanager
def _steer_one(lab: Lab, name: str, strike: Strike) -> Iterator[None]:
    steer([lab.state_directory(name)], strike.amount / 100)
    yield
    steer([lab.state_directory(name)], 0.0)


@contextmanager
def _hold_rtnl(_lab: Lab, _name: str, strike: Strike) -> Iterator[None]:
    with busy_kernel.holding(strike.amount):
        yield


@contextmanager
def _start_twin(lab: Lab, name: str, _strike: Strike) -> Iterator[None]:
    """A machine that was set up as the node is, and never ran before."""
    (lab.state_directory(SPARE) / "memory.json").unlink(missing_ok=True)
    lab.agents.start(SPARE, node=name)
    try:
        lab.wait_for(lambda: lab.agents.status(SPARE), what=f"a second {name} runs", within_s=TWIN_STARTS_S)
        yield
    finally:
        twin = lab.agents.tree(SPARE)
        if twin.root:
            twin.root.send(signal.SIGTERM)
        processes.send_all(processes.wait_gone(twin.everybody, within_s=TWIN_ENDS_S), signal.SIGKILL)


@contextmanager
def _hang_hook(lab: Lab, name: str, _strike: Strike) -> Iterator[None]:
    """On both nodes: that of the one that lets go, and that of the one that takes."""
    hook = Path(files.read(lab, name)["groups"][GROUP]["hooks"]["taken"])
    with hanging(hook):
        move(lab, GROUP, away_from=name)
        yield


@contextmanager
def _reload_one(lab: Lab, name: str, strike: Strike) -> Iterator[None]:
    """With another hook, another first choice, or without a check."""
    before = files.read(lab, name)["groups"][GROUP]
    others = {
        "hooks": before["hooks"] | {"failed": before["hooks"]["taken"]},
        "prefer": before["prefer"][::-1],
        "checks": {},
    }
    key = random.Random(repr(strike)).choice(sorted(others))
    files.change(lab, name, lambda tree: tree["groups"][GROUP].update({key: others[key]}))
    yield
    files.change(lab, name, lambda tree: tree["groups"][GROUP].update({key: before[key]}))


@contextmanager
def _swap(lab: Lab, name: str, strike: Strike) -> Iterator[None]:
    """One node has the new file, then all have: in any order, and not at once. It stays so."""
    chance = random.Random(repr(strike))
    wanted = exchanged(files.read(lab, name)["groups"])

    def give(tree: files.Tree) -> None:
        for group, addresses in wanted.items():
            tree["groups"][group]["addresses"] = addresses

    files.change(lab, name, give)
    yield
    others = _peers(lab, name)
    for other in chance.sample(others, len(others)):
        files.change(lab, other, give)
        time.sleep(chance.uniform(0.0, LONGEST_REST_S))


DEEDS: dict[str, Deed] = {
    "agent killed": _from_to(_kill_agent, _start),
    "guardian killed": _from_to(_kill_guardian, _start),
    "agent and guardian killed": _from_to(_kill_all, _start),
    "agent restarted": _from_to(_terminate, _start),
    "agent frozen": _from_to(_freeze_agent, _thaw),
    "everything frozen": _from_to(_freeze_all, _thaw),
    "host lost": _from_to(_lose_host, _boot),
    "link down": _from_to(_pull, _plug),
    "cut from the nodes": _from_to(_cut_from_nodes, _heal),
    "deaf to the nodes": _from_to(_deafen, _heal),
    "mute to the nodes": _from_to(_mute, _heal),
    "cut from everybody": _from_to(_isolate, _heal),
    "frames lost": _from_to(_lose_frames, _heal),
    "rules flushed": _from_to(_flush_rules, _nothing),
    "address removed": _from_to(_remove_address, _nothing),
    "clock stepped": _from_to(_step_clock, _set_clock),
    "clock steered": _steer_all,
    "clock steered too far": _steer_one,
    "RTNL held": _hold_rtnl,
    "twin started": _start_twin,
    "planned move": _from_to(_move, _nothing),
    "hook hung": _hang_hook,
    "one node reloaded": _reload_one,
    SWAP: _swap,
}
