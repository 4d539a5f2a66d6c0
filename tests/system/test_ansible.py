"""The playbooks without any host: style, and what is said about the variables against what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.system.packages import PROJECT

ANSIBLE = PROJECT / "ansible"
ROLE = ANSIBLE / "roles/haagent"
BIN = Path(sys.executable).parent
Tool = Callable[[str], str]


def read(name: str) -> Any:
    return yaml.safe_load((ROLE / name).read_text())


def run(*command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"}
    return subprocess.run(command, cwd=ANSIBLE, env=environment, capture_output=True, text=True, check=False)


def test_style(tmp_path: Path, tool: Tool) -> None:
    done = run(tool("ansible-lint"), "--offline", "--nocolor", "--profile", "production", directory=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failure(s), 0 warning(s)" in done.stdout + done.stderr


def test_every_playbook_can_be_read_with_the_example(tmp_path: Path, tool: Tool) -> None:
    playbooks = sorted(path.name for path in ANSIBLE.glob("*.yml") if "inventory" not in path.name)
    words = ("-i", "inventory.example.yml", "--syntax-check", *playbooks)
    done = run(tool("ansible-playbook"), *words, directory=tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_variable_is_described_with_its_default() -> None:
    defaults = read("defaults/main.yml")
    described = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert set(described) == set(defaults)
    for name, default in defaults.items():
        option = described[name]
        assert option["description"], name
        assert option["type"], name
        is_computed = isinstance(default, str) and "{{" in default
        assert option["default"] == default or is_computed, f"{name}: described with {option['default']!r}"


def test_every_entry_point_is_described() -> None:
    described = read("meta/argument_specs.yml")["argument_specs"]
    used = set(re.findall(r"tasks_from: (\w+)", "".join(path.read_text() for path in ANSIBLE.glob("*.yml"))))
    assert used | {"main"} == set(described)
    options = described["main"]["options"]
    for name, entry in described.items():
        assert entry["short_description"], name
        assert set(entry["options"]) - {"haagent_to"} <= set(options), name


def test_every_variable_is_in_the_readme() -> None:
    readme = (ANSIBLE / "README.md").read_text()
    missing = [name for name in (*read("defaults/main.yml"), "haagent_to") if f"`{name}`" not in readme]
    assert not missing
