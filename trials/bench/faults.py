"""What is done to the holder, one entry per row of the table. The same deed for every product, through its verbs."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable

import msgspec

from haagent.lab import LabError, processes
from haagent.lab.processes import Process
from trials.bench.products import Product, start_again, start_if_ended

Deed = Callable[[Product, str], None]
Shot = Callable[[Product, str], float]  # the instant at which it was dealt, when the aiming was done
BESIDE_S = 1.0  # watched so much longer than the timing needs to move the address


class Fault(msgspec.Struct, frozen=True):
    key: str  # for --only
    title: str
    strike: Shot
    mend: Deed
    lasts_s: float = 0.0  # 0: as long as the product's timing needs, and BESIDE_S
    what: str = ""  # a remark, where the products differ in what is hit
    renews: bool = False  # the daemon is started anew after each trial, outside of what is measured
    slow_too: bool = False  # also at an interval of one second
    splits: bool = False  # also with two nodes in `available`, and with keepalived's option against stale tables


def _nothing(_product: Product, _node: str) -> None:
    """Nothing was done that needs mending."""


def _wait(_product: Product, _node: str) -> float:
    return time.monotonic()


def _kill_decider(product: Product, node: str) -> float:
    return _sent([product.decider(node)], signal.SIGKILL)


def _kill_parent(product: Product, node: str) -> float:
    return _sent([_parent(product, node)], signal.SIGKILL)


def _kill_all(product: Product, node: str) -> float:
    """At one stroke, as the kernel kills a control group: frozen first, so that none lives on for the moment that it
    takes to clean up."""
    found = product.lab.agents.tree(node).everybody
    at_s = time.monotonic()
    processes.freeze_all(found)
    processes.send_all(found, signal.SIGKILL)
    return at_s


def _freeze(product: Product, node: str) -> float:
    found = product.lab.agents.tree(node).everybody
    at_s = time.monotonic()
    processes.freeze_all(found)
    return at_s


def _thaw(product: Product, node: str) -> None:
    processes.send_all(product.lab.agents.tree(node).everybody, signal.SIGCONT)


def _terminate(product: Product, node: str) -> float:
    return _sent([_parent(product, node)], signal.SIGTERM)


def _pull(product: Product, node: str) -> float:
    at_s = time.monotonic()
    product.lab.faults.link(node, "down")
    return at_s


def _plug(product: Product, node: str) -> None:
    product.lab.faults.link(node, "up")


def _isolate(product: Product, node: str) -> float:
    at_s = time.monotonic()
    product.lab.faults.cut(node)
    return at_s


def _divide(product: Product, node: str) -> float:
    """From the other nodes. The client reaches everybody."""
    at_s = time.monotonic()
    for peer in product.lab.state().plan.nodes:
        if peer.name != node:
            product.lab.faults.cut(node, peer.name)
    return at_s


def _heal(product: Product, _node: str) -> None:
    product.lab.faults.heal()


def _move(product: Product, node: str) -> float:
    at_s = time.monotonic()
    product.move(node)
    return at_s


def _parent(product: Product, node: str) -> Process:
    found = product.lab.agents.tree(node).root
    if found is None:
        raise LabError(f"{product.name}: nothing runs on {node}")
    return found


def _sent(found: Iterable[Process], number: signal.Signals) -> float:
    at_s = time.monotonic()
    processes.send_all(found, number)
    return at_s


def _undo_move(product: Product, node: str) -> None:
    product.undo_move(node)


FAULTS: dict[str, Fault] = {
    fault.key: fault
    for fault in (
        Fault("none", "nothing done (noise)", _wait, _nothing),
        Fault(
            "killed",
            "the process that decides is killed (SIGKILL)",
            _kill_decider,
            start_if_ended,
            renews=True,
            what="haagent: the agent; keepalived: its VRRP child, which the parent starts again",
            slow_too=True,
        ),
        Fault(
            "parent-killed",
            "the parent process is killed (SIGKILL)",
            _kill_parent,
            start_again,
            what="haagent: the guardian; keepalived: the parent",
        ),
        Fault("all-killed", "every process is killed (SIGKILL)", _kill_all, start_again, slow_too=True),
        Fault("frozen", "every process is frozen for 5 s (SIGSTOP)", _freeze, _thaw, lasts_s=5.0),
        Fault("stopped", "graceful stop (SIGTERM)", _terminate, start_again, slow_too=True),
        Fault("link", "the host's link is pulled (carrier lost)", _pull, _plug),
        Fault("isolated", "the host is cut off in silence (carrier stays)", _isolate, _heal),
        Fault(
            "move",
            "planned move",
            _move,
            _undo_move,
            what="haagent: `haagent failover`; keepalived: priority lowered through a track_file",
            slow_too=True,
        ),
        Fault(
            "partition",
            "nodes cut from each other for 3 s, the client reaches all",
            _divide,
            _heal,
            lasts_s=3.0,
            splits=True,
        ),
    )
}
