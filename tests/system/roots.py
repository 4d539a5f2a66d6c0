"""Root file systems to boot: built once from this machine's own Debian mirror, kept in a cache, never written to.

A root is named after its recipe: who changes the recipe gets a new root, and the old one goes when nobody uses it.
Hosts boot from an overlay of it, so a test can do to its host whatever it likes.

A host has no way out to a mirror. What the package under test will want is therefore put where apt looks before it
asks anybody: its index and `/var/cache/apt/archives` come with the root, and `apt install ./haagent.deb` in a host
resolves, unpacks and configures as it would anywhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.system import machine

FORMAT = 6  # of what `_finish` makes: a change of it makes every root anew
# What an installed Debian has: a service manager and its bus, ssh, a network service, Python for Ansible, a pager-less
# apt with the certificates for it, and the tools with which a person (and a test) looks around.
INSTALLED = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "sudo",
    "iproute2", "iputils-ping", "procps", "ca-certificates", "nftables",
)  # fmt: skip
OPERATOR = "admin"  # who administers the hosts: not root, and may become root


@dataclass(frozen=True)
class Recipe:
    suite: str
    installed: tuple[str, ...] = INSTALLED
    downloaded: tuple[str, ...] = ()  # in the cache of apt, not installed
    format: int = FORMAT

    @property
    def name(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.suite}-{digest[:16]}"


@contextmanager
def root(recipe: Recipe, *, cache: Path = machine.CACHE) -> Iterator[Path]:
    """The directory of the root, built if need be. It stays as long as somebody is inside this context."""
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (cache / f"{recipe.suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once build it once
        _sweep(cache, recipe)
        place = cache / recipe.name
        if not place.is_dir():
            _build(recipe, place)
        in_use = (cache / f"{recipe.name}.used").open("w")
        fcntl.flock(in_use, fcntl.LOCK_SH)
    with in_use:
        yield place


def _sweep(cache: Path, recipe: Recipe) -> None:
    """Remove what an interrupted build left, and roots of this suite made by other recipes that nobody uses."""
    for entry in cache.glob(f"{recipe.suite}-*"):
        if not entry.is_dir() or entry.name == recipe.name:
            continue
        with (cache / f"{entry.name}.used").open("w") as in_use:
            try:
                fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(entry)
            Path(in_use.name).unlink()


def _build(recipe: Recipe, place: Path) -> None:
    fresh = place.with_name(f"{recipe.suite}-unfinished")
    fresh.mkdir(mode=0o755)
    sources = [f"deb {uri} {suite} main" for uri, suite in _sources(recipe.suite)]
    options = [
        "--variant=minbase", "--mode=root", f"--include={','.join(recipe.installed)}",
        "--skip=cleanup/apt/lists", "--aptopt=Acquire::Languages none", "--dpkgopt=force-unsafe-io",
        # manuals and translations are a third of a minimal root, and nobody reads them here
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        f'--customize-hook=chroot "$1" useradd --create-home --shell /bin/bash {OPERATOR}',
    ]  # fmt: skip
    if recipe.downloaded:
        get = "apt-get install -y -q --no-install-recommends --download-only"
        options.append(f'--customize-hook=chroot "$1" {get} {" ".join(recipe.downloaded)}')
        options.append("--skip=cleanup/apt/cache")
    log = place.with_name(f"{recipe.suite}.log")
    with log.open("w") as output:
        # a mount namespace of its own: nothing stays mounted, however this ends
        command = ["unshare", "--mount", "--propagation", "slave", "--", "setpriv", "--pdeathsig", "KILL", "--"]
        command += ["mmdebstrap", *options, recipe.suite, str(fresh), *sources]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise machine.CannotRun(f"Debian {recipe.suite} could not be built, see {log}:\n{tail}")
    _finish(fresh)
    os.sync()
    fresh.rename(place)


def _sources(suite: str) -> Iterator[tuple[str, str]]:
    found = machine.mirrors()
    yield found["main"], suite
    if "security" in found:
        yield found["security"], f"{suite}-security"


def _finish(place: Path) -> None:
    """What makes a host out of a root, and what no two hosts may share."""
    for secret in (place / "etc/ssh").glob("ssh_host_*"):
        secret.unlink()
    (place / "etc/machine-id").write_text("")
    sudoers = place / "etc/sudoers.d" / OPERATOR
    sudoers.write_text(f"{OPERATOR} ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    (place / "etc/resolv.conf").unlink(missing_ok=True)  # there is no name service on the hosts' network
    wants = place / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for service in ("systemd-networkd.service", "nftables.service"):
        (wants / service).symlink_to(f"/lib/systemd/system/{service}")
    # only what was downloaded can be installed, so nothing that is merely recommended
    (place / "etc/apt/apt.conf.d/90-recommends").write_text('APT::Install-Recommends "false";\n')
    # a console that nobody reads, and timers that would reach for the network in the middle of a test
    for unit in ("console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer"):
        (place / "etc/systemd/system" / unit).symlink_to("/dev/null")
