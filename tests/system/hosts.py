"""Clusters for tests: one rolled out from nothing by the playbook, and a copy of it, booted on a fresh overlay.

The roll-out takes as long as it takes an operator; a copy of its result is up in a few seconds. Tests share one copy:
each leaves it as whole as it was. After a test that has failed, or that has used it up, the next gets a fresh one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from haagent.lab.plan import CLIENT, draw
from tests.system.access import Ssh
from tests.system.cluster import Cluster, Played
from tests.system.host import Host
from tests.system.network import AREA, Stage
from tests.system.packages import PROJECT, Packages, files, packages
from tests.system.roots import Recipe, root

NODES = ("A", "B", "W")
# A and B are what most have; the witness is what most will have next.
SUITES = {"A": "bookworm", "B": "bookworm", "W": "trixie"}
# What a host may have before us: only what is named here comes in, and that is not a heartbeat.
FIREWALL = """flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto { 1, 58 } accept  # ICMP of IPv4 and IPv6
        tcp dport 22 accept
    }
}
"""


@dataclass(frozen=True)
class RollOut:
    """What happened when the playbook was run on hosts that had nothing, and what it left."""

    checked: Played  # with --check, before
    played: Played
    holder: str
    layers: dict[str, str]  # per host, in the switch's mount namespace
    directory: Path  # the operator's
    variables: dict[str, Any]  # of the inventory


class Theatre:
    def __init__(self, stack: ExitStack) -> None:
        """Everything is taken down when the stack is left."""
        self._directory = _directory()
        stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
        self.packages: Packages = packages(self._directory / "packages")
        wanted = self.packages.dependencies
        suites = sorted(set(SUITES.values()))
        with ThreadPoolExecutor() as pool:
            built = pool.map(lambda suite: stack.enter_context(root(Recipe(suite, downloaded=wanted))), suites)
            self._roots = dict(zip(suites, built, strict=True))
        self.stage = stack.enter_context(Stage(draw(nodes=2, has_witness=True)))
        self._playbooks = _export(self._directory / "tree", self.packages.present)
        self._ssh = Ssh(self._directory, enter_network=self.stage.enter_network(CLIENT))
        stack.callback(self._ssh.close)
        self._rolled_out: RollOut | None = None
        self._standing: tuple[Cluster, ExitStack] | None = None
        stack.callback(self.strike)
        self._operators = 0

    @property
    def rolled_out(self) -> RollOut:
        if self._rolled_out is None:
            self._rolled_out = self._roll_out()
        return self._rolled_out

    def _roll_out(self) -> RollOut:
        with self.bare(NODES) as cluster:
            for host in cluster.hosts.values():
                host.run(["sh", "-c", f"cat > /etc/nftables.conf <<'END'\n{FIREWALL}END\nsystemctl restart nftables"])
            cluster.variables |= {"haagent_firewall": "nftables", "haagent_network_manager": "networkd"}
            checked = cluster.play("site.yml", "--check", "--diff")
            played = cluster.play("site.yml")
            holder = cluster.wait_whole()
            cluster.shut_down()
            layers = {name: self._keep(host) for name, host in cluster.hosts.items()}
            return RollOut(checked, played, holder, layers, cluster.directory, cluster.variables)

    def _keep(self, host: Host) -> str:
        """What the host has written becomes a layer for others."""
        layer = f"{AREA}/{host.name}.installed"
        self.stage.run_on_switch(f"umount {host.root} && mv {host.changes} {layer}")
        return layer

    @contextmanager
    def bare(self, names: tuple[str, ...], *, suites: dict[str, str] | None = None) -> Iterator[Cluster]:
        """Hosts with nothing of ours on them."""
        self.strike()
        of = SUITES | (suites or {})
        with self._cluster(names, lambda name: [str(self._roots[of[name]])], self._operator()) as cluster:
            yield cluster

    def cluster(self) -> Cluster:
        """Hosts as the roll-out and the tests before left them; every agent works, and one of them serves."""
        before = self.rolled_out
        if self._standing is None:
            stack = ExitStack()
            with stack:
                operator = self._operator()
                shutil.copytree(before.directory, operator, dirs_exist_ok=True)
                cluster = stack.enter_context(self._cluster(NODES, self._installed, operator))
                cluster.variables |= before.variables
                self._standing = cluster, stack.pop_all()
        cluster, _ = self._standing
        cluster.wait_whole()
        return cluster

    def _installed(self, name: str) -> list[str]:
        return [str(self._roots[SUITES[name]]), self.rolled_out.layers[name]]

    def strike(self) -> None:
        """The next one gets fresh copies of what the roll-out left: these hosts are not as they should be."""
        if self._standing is not None:
            (_, stack), self._standing = self._standing, None
            stack.close()

    @contextmanager
    def _cluster(self, names: tuple[str, ...], layers: Callable[[str], list[str]], operator: Path) -> Iterator[Cluster]:
        hosts = [Host(self.stage, name, layers=layers(name)) for name in names]
        cluster = Cluster(self.stage, self._ssh, hosts, directory=operator, playbooks=self._playbooks)
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


def _directory() -> Path:
    """Of this run, with a short name, because sockets live in it. What a killed run left goes."""
    for left in Path(tempfile.gettempdir()).glob("haagent-tests-*"):
        if not Path(f"/proc/{left.name.split('-')[2]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"haagent-tests-{os.getpid()}-"))


def _export(tree: Path, package: Path) -> Path:
    """The project as one who has cloned it and said `make deb` has it: the tracked files, and the package in dist/."""
    for file in files("ansible", "systemd"):
        copy = tree / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    (tree / "dist").mkdir()
    shutil.copy2(package, tree / "dist")
    return tree / "ansible"
