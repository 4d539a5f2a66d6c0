"""What the system tests need of this machine, and why they are skipped where it is missing.

They boot Debian with its own systemd in containers. That needs root and namespaces, and four programs; nothing of the
machine is touched but a directory for the cached root file systems.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from haagent.lab import LabError, namespaces

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "dpkg-buildpackage": "dpkg-dev",
    "dh": "debhelper",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
CACHE = Path(os.environ.get("HAAGENT_TEST_CACHE") or "/var/cache/haagent-tests")


class CannotRun(Exception):
    """Why system tests cannot run on this machine; says what to do."""


def check() -> None:
    """Raises `CannotRun` with everything that is missing, and how to get it."""
    faults = list(_faults())
    if faults:
        raise CannotRun("; ".join(faults))
    mirrors()


def _faults() -> Iterator[str]:
    if os.geteuid() != 0:
        yield "they boot containers, which needs root: sudo make test"
    missing = {tool: package for tool, package in PACKAGES.items() if not shutil.which(tool, path=_path())}
    if missing:
        yield f"there is no {', '.join(sorted(missing))}: apt install {' '.join(sorted(set(missing.values())))}"
    if not (Path(sys.executable).parent / "ansible-playbook").exists():
        yield "there is no ansible-playbook beside this Python: pip install -e '.[dev]'"
    if absent := sorted({"overlay", "cgroup2"} - _file_systems()):
        yield f"this kernel has no {' and no '.join(absent)}: modprobe overlay, or another kernel"
    try:
        namespaces.require_tools()
        if os.geteuid() == 0 and not namespaces.can_be_root():
            yield "this root may not make namespaces: outside of a container it may"
    except LabError as error:
        yield str(error)


def _file_systems() -> set[str]:
    return {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}


def _path() -> str:
    return namespaces.search_path()


def mirrors() -> dict[str, str]:
    """Where this machine gets Debian from: the archive (`main`) and its security updates (`security`)."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        uri, _, release = line.partition(" ")
        kind = {"": "main", "security": "security"}.get(release.partition("-")[2])
        if kind and uri.rstrip("/").endswith(("/debian", "/debian-security")):
            found.setdefault(kind, uri)
    if "main" not in found:
        raise CannotRun("the apt sources of this machine name no Debian archive, from which hosts could be made")
    return found
