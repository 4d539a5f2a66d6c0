"""Hosts that belong together, and what an operator does with them: playbooks from outside, commands on a host.

Assertions go through `host(name)`, which is testinfra's view of a host over ssh. The harness itself looks at a host
from beside it only where ssh is not up or would be in the way.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import testinfra
import yaml

from tests.system.access import Ssh
from tests.system.host import INTERFACE, Host
from tests.system.network import Stage
from tests.system.roots import OPERATOR

GROUP = "web"


@dataclass(frozen=True)
class Played:
    """What a playbook run said."""

    status: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """Per host: ok, changed, unreachable, failed, skipped."""
        lines = re.findall(r"^(\S+)\s+: (ok=.*)$", self.output.rpartition("PLAY RECAP")[2], re.MULTILINE)
        return {name: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)} for name, counts in lines}

    @property
    def changed(self) -> int:
        return sum(counts["changed"] for counts in self.recap.values())


class Cluster:
    def __init__(self, stage: Stage, ssh: Ssh, hosts: Sequence[Host], *, directory: Path, playbooks: Path):
        """`directory`: of the controller, with the inventory and the key; it is what an operator would have.

        `variables` are those of its inventory."""
        self.stage = stage
        self.ssh = ssh
        self.hosts = {host.name: host for host in hosts}
        self.directory = directory
        self.variables: dict[str, Any] = {}
        self._playbooks = playbooks

    # ---- power ----

    def boot(self) -> None:
        for host in self.hosts.values():
            host.create(self.ssh.access)
            host.boot()
        self.ssh.know(host.address for host in self.hosts.values())
        for host in self.hosts.values():
            host.wait_up()

    def switch_off(self) -> None:
        for host in self.hosts.values():
            self.ssh.forget(host)
            host.switch_off()

    def shut_down(self) -> None:
        for host in self.hosts.values():
            self.ssh.forget(host)
        with ThreadPoolExecutor() as pool:
            list(pool.map(Host.shut_down, self.hosts.values()))

    def lose(self, name: str) -> None:
        self.hosts[name].lose()
        self.ssh.forget(self.hosts[name])

    def reboot(self, name: str) -> None:
        """From inside, as an operator does; returns when it is up again."""
        host = self.hosts[name]
        leader = host.leader
        self.ssh.forget(host)
        host.run(["systemctl", "--no-block", "reboot"])
        host.wait_for(lambda: host.leader not in (0, leader), what=f"{name} reboots")
        host.wait_up()

    # ---- looking and doing ----

    def host(self, name: str) -> Any:
        """testinfra's view of it."""
        return testinfra.get_host(f"ssh://{self.hosts[name].address}", ssh_config=str(self.ssh.config))

    def haagent(self, name: str, *words: str) -> dict[str, Any]:
        """A command of haagent on a host; its JSON."""
        done = self.host(name).run(" ".join(["haagent", *words, "--json"]))
        assert done.rc == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def status(self, name: str) -> dict[str, Any]:
        return self.haagent(name, "status")

    def holder(self, *, seen_from: str = "") -> str:
        """Of the group, when it is active there; else empty."""
        names = [seen_from] if seen_from else list(self.hosts)
        for name in names:
            done = self.host(name).run("haagent status --json")
            if done.rc == 0:
                group = next(one for one in json.loads(done.stdout)["groups"] if one["name"] == GROUP)
                return str(group["holder"]) if group["active"] else ""
        return ""

    def wait_whole(self, *, within_s: float = 60.0) -> str:
        """Until every host's agent sees all members, and one of them serves. The name of that one."""
        names = sorted(self.hosts)

        def is_whole() -> str:
            views = [self.host(name).run("haagent status --json") for name in names]
            if any(view.rc for view in views):
                return ""
            facts = [json.loads(view.stdout) for view in views]
            holders = {group["holder"] if group["active"] else "" for one in facts for group in one["groups"]}
            members = [member for one in facts for member in one["members"]]
            away = [member for member in members if member["state"] == "offline" or member["silent_ms"]]
            return "" if away or len(holders) != 1 else holders.pop()

        return str(self.wait_for(is_whole, what="the cluster is whole", within_s=within_s))

    def wait_for(self, condition: Callable[[], Any], *, what: str, within_s: float = 20.0) -> Any:
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within_s:g} s in vain for this: {what}\n{self.story()}")
            time.sleep(0.1)
        return value

    def story(self) -> str:
        """For a failed test: what each host's service said last."""
        parts = []
        for name, host in self.hosts.items():
            if host.leader:
                said = host.run(
                    ["journalctl", "-u", "haagent", "-n", "25", "--no-pager", "-o", "short-precise"], checks=False
                )
                parts.append(f"--- {name}\n{said}")
        return "\n".join(parts)

    # ---- the operator's machine ----

    def play(self, playbook: str, *words: str, checks: bool = True, within_s: float = 300.0, **extra: object) -> Played:
        """Run a playbook from the project's tree, with these variables over those of the inventory."""
        self._write_inventory()
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.directory / "inventory.yml"),
            str(self._playbooks / playbook), *words,
        ]  # fmt: skip
        if extra:
            command += ["-e", json.dumps(extra)]
        process = subprocess.Popen(
            command,
            cwd=self._playbooks,
            env=self.ssh.environment() | {"ANSIBLE_CONFIG": str(self._playbooks / "ansible.cfg")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=within_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # with all its workers
            process.communicate()
            raise
        if checks and process.returncode:
            raise AssertionError(f"{playbook} failed:\n{output[-6000:]}\n{self.story()}")
        return Played(process.returncode, output)

    def _write_inventory(self) -> None:
        hosts = {
            name: {"ansible_host": host.address, "haagent_witness": host.facts.witness}
            for name, host in self.hosts.items()
        }
        shared = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_user": OPERATOR,
            "haagent_cluster": "shop",
            "haagent_interface": INTERFACE,
            # Three hosts and their playbooks share this machine: how fast a lease ends is not what is tested here.
            "haagent_heartbeat": {"interval": "100ms", "lease": "2s"},
            "haagent_groups": {
                GROUP: {"addresses": [f"{vip}/{64 if ':' in vip else 24}" for vip in self.stage.plan.vips]}
            },
        } | self.variables
        text = yaml.safe_dump({"haagent": {"hosts": hosts, "vars": shared}})
        (self.directory / "inventory.yml").write_text(text)
