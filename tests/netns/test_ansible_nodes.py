"""Ansible changes the nodes of a running cluster one at a time. Only what sets up a new host is stood in for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from haagent.lab import Lab
from haagent.lab.plan import VIP4, VIP6
from tests.netns.test_nodes import file_of, started
from tests.netns.test_voters import stop, wait_voters
from tests.support.observe import LEASE_MS, MakeLab, holder, noise_ms, wait_whole, watch_quietly

pytestmark = pytest.mark.netns
ROLES = Path(__file__).parents[2] / "ansible" / "roles"
BIN = Path(sys.executable).parent
PLAYBOOK = BIN / "ansible-playbook"

# The host has its package; what is left of its setting up is the file and the start.
NEW_HOST = """
- name: Write the file
  ansible.builtin.copy: {content: "{{ haagent_text }}", dest: "{{ haagent_file }}", mode: "0644"}
- name: Start the agent
  ansible.builtin.command: {argv: [haagent, lab, start, "{{ haagent_node }}", --name, "{{ lab }}"]}
  changed_when: true
- name: See that it works
  ansible.builtin.include_tasks: examine.yml
  vars: {haagent_doctor: false}
"""
PLAY = """
- name: As site.yml begins
  hosts: haagent
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Change the nodes
      ansible.builtin.include_role: {name: haagent, tasks_from: nodes}
"""


class Controller:
    """The operator's machine. Each host is this one, with the run directory of its own agent."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self._lab, self._directory = lab, directory
        shutil.copytree(ROLES, directory / "roles")
        (directory / "roles/haagent/tasks/main.yml").write_text(NEW_HOST)
        (directory / "nodes.yml").write_text(PLAY)

    def play(self, nodes: str, *words: str) -> subprocess.CompletedProcess[str]:
        hosts = {name: self._host(name) for name in nodes}
        tree = {"haagent": {"hosts": hosts, "vars": {"ansible_connection": "local", "lab": self._lab.state().name}}}
        (self._directory / "inventory.yml").write_text(yaml.safe_dump(tree))
        environment = os.environ | {
            "ANSIBLE_HOME": str(self._directory / "home"),
            "ANSIBLE_LOCAL_TEMP": str(self._directory / "home/tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self._directory / "home/tmp"),
            "LC_ALL": "C.UTF-8",
        }
        command = [str(PLAYBOOK), "-i", "inventory.yml", "nodes.yml", *words]
        return subprocess.run(
            command, cwd=self._directory, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def _host(self, name: str) -> dict[str, Any]:
        file_of(self._lab, name).parent.mkdir(exist_ok=True)
        python = self._directory / f"python-{name}"
        python.write_text(
            f"#!/bin/sh\nexport HAAGENT_RUN_DIR={self._lab.run_directory(name)} PATH={BIN}:$PATH\n"
            f'exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        return {
            "ansible_python_interpreter": str(python),
            "haagent_address": self._lab.state().plan.node(name).address,
            "haagent_file": str(file_of(self._lab, name)),
        }


@pytest.mark.skipif(not PLAYBOOK.exists(), reason="needs Ansible in the virtual environment")
def test_two_nodes_come_and_one_goes_in_one_run_each(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = started(make_lab, "ABC")
    controller = Controller(lab, tmp_path)
    some = controller.play("ABCDE", "--limit", "A,B,C")
    assert some.returncode
    assert "these would not be told: D, E" in some.stdout, some.stdout + some.stderr
    with lab.probe() as probe:
        probe.wait_answer(by=holder(lab))
        quiet = watch_quietly()
        grown = controller.play("ABCDE")
        assert not grown.returncode, grown.stdout + grown.stderr
        wait_voters(lab, "ABCDE", "ABCDE")
        order = re.findall(r"TASK \[haagent : (Add it|Set up|Wait until all)(?:.*, ([A-Z])\])?", grown.stdout)
        each = ["Set up", ""], ["Wait until all", ""]
        assert [[*one] for one in order] == [["Add it", "D"], *each, ["Add it", "E"], *each]
        again = controller.play("ABCDE")
        assert re.findall(r"changed=(\d+)", again.stdout) == ["0"] * 5
        gone = "B" if holder(lab) == "B" else "D"
        shrunk = controller.play("ABCDE".replace(gone, ""))
        assert shrunk.returncode == 0, shrunk.stdout + shrunk.stderr
        wait_voters(lab, "ABCDE".replace(gone, ""), "ABCDE".replace(gone, ""))
        stop(lab, gone)
        wait_whole(lab)
    events = json.loads(lab.run("A", ["haagent", "events", "--json", "--all"]).stdout)["events"]
    changes = [one["text"] for one in events if one["kind"] == "voters" and one["node"] == "A"]
    assert [len(text.partition(" now ")[2].split(", ")) for text in changes] == [4, 5, 4]
    noise = noise_ms(probe, [quiet])
    for vip in (VIP4, VIP6):
        seen = probe.outage(vip)
        assert seen.dual_ms == 0
        assert seen.worst_ms < LEASE_MS / 2 + noise + seen.stall_ms
