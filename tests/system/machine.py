"""What the system tests need of this machine, and why they are skipped where it is missing.

They boot Debian with its own systemd in containers. That needs root and namespaces, and four programs; nothing of the
machine is touched but a directory for the cached root file systems.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from haagent.lab import LabError, namespaces

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
CACHE = Path(os.environ.get("HAAGENT_TEST_CACHE") or "/var/cache/haagent-tests")


class CannotRun(Exception):
    """Why system tests cannot run on this machine; says what to do."""


def check() -> None:
    """Raises `CannotRun` when something is missing."""
    if os.geteuid() != 0:
        raise CannotRun("they boot containers: run them as root")
    if missing := sorted({package for tool, package in PACKAGES.items() if not shutil.which(tool, path=_path())}):
        raise CannotRun(f"missing programs: apt install {' '.join(missing)}")
    if missing := sorted({"overlay", "cgroup2"} - _file_systems()):
        raise CannotRun(f"this kernel has no {', '.join(missing)}")
    try:
        namespaces.require_tools()
        if not namespaces.can_be_root():
            raise CannotRun("this root may not make namespaces")
    except LabError as error:
        raise CannotRun(str(error)) from error


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
        raise CannotRun("the apt sources of this machine name no Debian archive")
    return found
