"""The Vagrant lab, as far as it can be examined without starting it: what `vagrant validate` says, per provider.

Where Vagrant or a provider's plug-in is missing, that part is skipped, and the summary of the run says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

LAB = Path(__file__).parents[2] / "vagrant"
VAGRANTFILE = LAB / "Vagrantfile"
PROVIDERS = {"libvirt": "vagrant-libvirt", "virtualbox": ""}  # and the package of the plug-in that it needs

needs_vagrant = pytest.mark.skipif(
    shutil.which("vagrant") is None,
    reason="NOT VALIDATED: the Vagrantfile, because vagrant is not installed (apt install vagrant vagrant-libvirt)",
)


@pytest.fixture
def vagrant_environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the user's is read or written. `vagrant` looks for VirtualBox's program before it validates, and asks
    it for its version; this one says no more than that."""
    program = tmp_path / "bin" / "VBoxManage"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 7.0.20r163906\n")
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "machines"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def vagrant(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["vagrant", *words], cwd=LAB, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@needs_vagrant
@pytest.mark.parametrize(("provider", "witness"), [("libvirt", "W"), ("virtualbox", "")])
def test_it_is_valid(vagrant_environment: dict[str, str], provider: str, witness: str) -> None:
    plugin = PROVIDERS[provider]
    if plugin and plugin not in vagrant(vagrant_environment, "plugin", "list").stdout:
        pytest.skip(f"NOT VALIDATED: the Vagrantfile for {provider}, without its plug-in (apt install {plugin})")
    environment = vagrant_environment | {"VAGRANT_DEFAULT_PROVIDER": provider} | ({"WITNESS": "1"} if witness else {})
    done = vagrant(environment, "validate")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    # names and providers, as it understands them
    status = vagrant(environment, "status", "--machine-readable").stdout
    found = re.findall(r"^\d+,(\w+),provider-name,(\w+)$", status, re.MULTILINE)
    assert found == [(name, provider) for name in ("A", "B", witness, "client") if name]


def test_its_words_are_words_of_the_role() -> None:
    text = VAGRANTFILE.read_text()
    known = yaml.safe_load((LAB.parent / "ansible/roles/haagent/defaults/main.yml").read_text())
    assert set(re.findall(r"\bhaagent_\w+", text)) <= set(known)


def test_what_it_names_is_there() -> None:
    text = VAGRANTFILE.read_text()
    named = re.findall(r'ansible\.(?:config_file|playbook) = "([^"]+)"', text)
    assert len(named) == 2
    assert [name for name in named if not (LAB / name).is_file()] == []
    playbook = yaml.safe_load((LAB / "playbook.yml").read_text())
    assert (LAB / playbook[0]["ansible.builtin.import_playbook"]).is_file()


def test_the_manual_knows_every_switch() -> None:
    manual = (LAB / "README.md").read_text()
    switches = set(re.findall(r'ENV(?:\.fetch\(|\[)"([A-Z_]+)"', VAGRANTFILE.read_text())) - {"VAGRANT_NO_PARALLEL"}
    assert {switch for switch in switches if switch not in manual} == set()
