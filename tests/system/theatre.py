"""Clusters for tests: one rolled out from nothing by the playbook, and copies of it, each booted on a fresh overlay.

The roll-out takes as long as it takes an operator; a copy of its result is up in a few seconds. So each test has hosts
of its own, as they were when the roll-out was over, and may leave them in any state.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.lab.plan import CLIENT, SWITCH, draw
from tests.system.access import Ssh
from tests.system.cluster import Cluster, Played
from tests.system.host import Host
from tests.system.packages import Packages, packages
from tests.system.roots import Recipe, root
from tests.system.stage import AREA, Stage

NODES = ("A", "B", "W")
# A and B are what most have; the witness is what most will have next.
SUITES = {"A": "bookworm", "B": "bookworm", "W": "trixie"}
# What else the playbooks install on a host: what goes with the package, and what a virtual environment needs.
BESIDE = ("nftables", "python3-venv", "python3-packaging")


@dataclass(frozen=True)
class RollOut:
    """What happened when the playbook was run on hosts that had nothing, and what it left."""

    checked: Played  # with --check, before
    played: Played
    holder: str
    layers: dict[str, str]  # per host, in the switch's mount namespace
    directory: Path  # the operator's


class Theatre:
    def __init__(self, stack: ExitStack) -> None:
        """Everything is taken down when the stack is left."""
        self.packages: Packages = packages()
        wanted = self.packages.dependencies + BESIDE
        suites = sorted(set(SUITES.values()))
        self._roots = {suite: stack.enter_context(root(Recipe(suite, downloaded=wanted))) for suite in suites}
        self.stage = stack.enter_context(Stage(draw(nodes=2, has_witness=True)))
        self._directory = Path(tempfile.mkdtemp(prefix="haagent-"))
        stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self._ssh = Ssh(self._directory, enter_network=self.stage.enter_network(CLIENT))
        self._rolled_out: RollOut | None = None
        self._operators = 0

    @property
    def rolled_out(self) -> RollOut:
        if self._rolled_out is None:
            self._rolled_out = self._roll_out()
        return self._rolled_out

    def _roll_out(self) -> RollOut:
        with self.bare(NODES) as cluster:
            checked = cluster.play("site.yml", "--check", "--diff")
            played = cluster.play("site.yml")
            holder = cluster.wait_whole()
            cluster.shut_down()
            layers = {name: self._keep(host) for name, host in cluster.hosts.items()}
            return RollOut(checked, played, holder, layers, cluster.directory)

    def _keep(self, host: Host) -> str:
        """What the host has written becomes a layer for others."""
        layer = f"{AREA}/{host.name}.installed"
        self.stage.run(SWITCH, ["mv", host.changes, layer])
        return layer

    @contextmanager
    def bare(self, names: tuple[str, ...], *, suites: dict[str, str] | None = None) -> Iterator[Cluster]:
        """Hosts with nothing of ours on them."""
        of = SUITES | (suites or {})
        with self._cluster(names, lambda name: [str(self._roots[of[name]])], self._operator()) as cluster:
            yield cluster

    @contextmanager
    def copy(self) -> Iterator[Cluster]:
        """Hosts as the roll-out left them, just switched on; every agent works, and one of them serves."""
        before = self.rolled_out
        operator = self._operator()
        shutil.copytree(before.directory, operator, dirs_exist_ok=True)
        layers: Callable[[str], list[str]] = lambda name: [str(self._roots[SUITES[name]]), before.layers[name]]  # noqa: E731
        with self._cluster(NODES, layers, operator) as cluster:
            cluster.wait_whole()
            yield cluster

    @contextmanager
    def _cluster(self, names: tuple[str, ...], layers: Callable[[str], list[str]], operator: Path) -> Iterator[Cluster]:
        hosts = [Host(self.stage, name, layers=layers(name)) for name in names]
        variables: dict[str, Any] = {"haagent_deb": str(self.packages.present)}
        cluster = Cluster(self.stage, self._ssh, hosts, directory=operator, variables=variables)
        try:
            cluster.boot()
            yield cluster
        finally:
            cluster.switch_off()
            for host in hosts:
                host.destroy()

    def _operator(self) -> Path:
        self._operators += 1
        directory = self._directory / f"operator{self._operators}"
        directory.mkdir(mode=0o700)
        return directory
