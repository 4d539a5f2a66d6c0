"""The two daemons behind one set of verbs: settled where, who decides, move, start again.

Each lives in a lab of its own: the same hosts, switch, client and prober. A third host stands in haagent's `consistent`
lab alone, since keepalived knows no witness.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Protocol, TypeVar

from haagent.control.client import Client
from haagent.lab import Lab, LabError, Measurement, Wishes, processes
from haagent.lab.plan import VIP4
from haagent.lab.processes import Process
from trials.chaos.cluster import GROUP, addresses, timing, wait_settled

HERE = Path(__file__).resolve().parent
SETTLED_S = 30.0
Made = TypeVar("Made")
KEEPALIVED = (
    *("keepalived", "--dont-fork", "--vrrp", "--log-console", "--no-syslog", "--config-id", "{node}"),
    *("--pid", "{run}/keepalived.pid", "--vrrp_pid", "{run}/vrrp.pid"),
)


class Product(Protocol):
    name: str
    lab: Lab
    takeover_s: float  # what the timing promises when a host is lost

    def settle(self, probe: Measurement | None = None) -> str:
        """Wait until all is well; who holds the address."""

    def decider(self, node: str) -> Process:
        """The process that decides."""

    def move(self, node: str) -> None:
        """Away from this node, as an operator does."""

    def undo_move(self, node: str) -> None: ...

    def tidy_up(self, node: str) -> None:
        """What the init system does between two lives."""


def start_again(product: Product, node: str) -> None:
    """As the init system does, when everything of the former life has ended."""
    if left := processes.wait_gone(product.lab.agents.tree(node).everybody, within_s=10):
        raise LabError(f"{product.name}: processes {[process.pid for process in left]} of {node} do not end")
    product.tidy_up(node)
    product.lab.start(node)


def start_if_ended(product: Product, node: str) -> None:
    """What its own parent has started again needs nobody else."""
    if product.lab.agents.tree(node).root is None:
        start_again(product, node)


def renew(product: Product, node: str) -> None:
    """A fresh life: what a daemon remembers of a fault (keepalived waits longer with each death of its child) must not
    count in the next trial."""
    if root := product.lab.agents.tree(node).root:
        root.send(signal.SIGTERM)
    start_again(product, node)


class Haagent:
    def __init__(self, name: str, lab: Lab) -> None:
        self.name, self.lab = name, lab
        lab.wait_ready(within_s=SETTLED_S)
        self.takeover_s = timing(lab)[1]

    def settle(self, probe: Measurement | None = None) -> str:
        return wait_settled(self.lab, probe, within_s=SETTLED_S)[GROUP]

    def decider(self, node: str) -> Process:
        found = self.lab.agents.tree(node).deciding
        if found is None:
            raise LabError(f"no agent runs on {node}")
        return found

    def move(self, node: str) -> None:
        with Client(str(self.lab.run_directory(node))) as client:
            client.ask("failover", wait_s=10.0, group="web", to=_other(node), force=False)

    def undo_move(self, node: str) -> None:
        """Nothing moves back by itself, and need not."""

    def tidy_up(self, node: str) -> None:
        """Nothing: it looks at what is there."""


class Keepalived:
    def __init__(self, name: str, lab: Lab, *, place: Path, interval_s: float) -> None:
        self.name, self.lab, self._place = name, lab, place
        self.takeover_s = 3 * interval_s + interval_s * (256 - 100) / 256

    def settle(self, probe: Measurement | None = None) -> str:
        """The higher priority preempts, so all is well when A has it again."""
        self.lab.wait_for(self._is_settled, what=f"{self.name} is settled", within_s=SETTLED_S)
        if probe is not None:
            probe.wait_answer(by="A", since_s=time.monotonic(), within_s=SETTLED_S)
        return "A"

    def _is_settled(self) -> bool:
        return VIP4 in addresses(self.lab, "A") and VIP4 not in addresses(self.lab, "B") and self._both_run()

    def _both_run(self) -> bool:
        return all(len(self.lab.agents.tree(node).everybody) == 2 for node in ("A", "B"))

    def decider(self, node: str) -> Process:
        """The VRRP child."""
        found = self.lab.agents.tree(node)
        children = [process for process in found.everybody if process != found.root]
        if not children:
            raise LabError(f"no keepalived runs on {node}")
        return children[0]

    def move(self, node: str) -> None:
        self._set_priority(node, -100)

    def undo_move(self, node: str) -> None:
        self._set_priority(node, 0)

    def tidy_up(self, node: str) -> None:
        """systemd removes the file that PIDFile= names. Left there, it keeps keepalived from starting as long as
        anybody has that number, be it a zombie that we have not reaped."""
        for left in self.lab.run_directory(node).glob("*.pid"):
            left.unlink()

    def _set_priority(self, node: str, added: int) -> None:
        (self._place / f"{node}.priority").write_text(f"{added}\n")


def _other(node: str) -> str:
    return {"A": "B", "B": "A"}[node]


def haagent(name: str, prefix: str, wishes: Wishes) -> Haagent:
    has_witness = wishes.on_partition == "consistent"
    lab = Lab.create(name=f"{prefix}-{_slug(name)}", nodes=2, has_witness=has_witness, wishes=wishes, dies_with_us=True)
    return _or_down(lab, lambda: Haagent(name, lab))


def keepalived(
    name: str, prefix: str, *, place: Path, interval_s: float = 0.1, file: str = "keepalived.conf", extra: str = ""
) -> Keepalived:
    """`place`: a directory of its own, for the configuration and what the operator writes."""
    place.mkdir()
    for node in ("A", "B"):
        (place / f"{node}.priority").write_text("0\n")
    written = place / "keepalived.conf"
    text = Template((HERE / file).read_text()).safe_substitute(place=place, interval=f"{interval_s:g}", extra=extra)
    written.write_text(text)
    command = (*KEEPALIVED, "--use-file", str(written))
    lab = Lab.create(name=f"{prefix}-{_slug(name)}", nodes=2, command=command, dies_with_us=True)
    return _or_down(lab, lambda: Keepalived(name, lab, place=place, interval_s=interval_s))


def _or_down(lab: Lab, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except BaseException:
        lab.down()
        raise


def _slug(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum())
