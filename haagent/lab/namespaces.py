"""Hosts as anonymous namespaces: made, kept alive by one sleeping process each, and entered.

A host is a network namespace (its interfaces), a host name of its own and a mount namespace with a /sys that shows its
interfaces rather than the machine's. None of them has a name anywhere: no /run/netns entry, no bind mount. The keeper
holds them; when the last process inside is gone, the kernel removes everything.

Without root the same is done inside one user namespace, in which this user is root. It owns all the network
namespaces of the lab, so bridges, nftables and raw sockets work there as for root.

util-linux does the work (`unshare`, `nsenter`, `setpriv`; present on every Debian): each of them replaces
itself by the command, so the process we start is the process we keep.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from haagent.lab.errors import LabError
from haagent.lab.processes import Process, identify

_KINDS = ["--net", "--mount", "--uts"]
# A missing sysfs or host name is no reason to give up: they are for the comfort of whoever looks around inside.
_KEEPER = """
mount -t sysfs sysfs /sys 2>/dev/null
hostname "$1" 2>/dev/null
ip link set lo up || exit 1
echo ready
exec >/dev/null 2>&1
shift
exec "$@" sleep infinity
"""


def require_tools() -> None:
    wanted = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux", "nsenter": "util-linux"}
    missing = sorted({package for tool, package in wanted.items() if not shutil.which(tool, path=search_path())})
    if missing:
        raise LabError(f"the lab needs {', '.join(missing)}: apt install {' '.join(missing)}")


def search_path() -> str:
    """For every command of the lab: first what belongs to this Python (`haagent`); on Debian the PATH of a plain user
    lacks the directories of `ip` and `nft`."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def can_be_root() -> bool:
    """Whether this process may make network namespaces itself; False means: it must use a user namespace.

    Raises when neither works.
    """
    direct = _attempt(["unshare", *_KINDS, "--", "ip", "link", "set", "lo", "up"])
    if not direct:
        return True
    nested = _attempt(["unshare", "--user", "--map-root-user", *_KINDS, "--", "ip", "link", "set", "lo", "up"])
    if not nested:
        return False
    raise LabError(f"this machine does not let us make network namespaces ({nested}). {_remedy()}")


def keep(
    name: str, *, user: Process | None, makes_user: bool, dies_with_us: bool, environment: dict[str, str]
) -> tuple[Process, subprocess.Popen[bytes]]:
    """Start a keeper. With `makes_user` it owns a new user namespace; with `user` it lives in that one."""
    entrance = [] if user is None else ["nsenter", "-t", str(user.pid), "-U", "--preserve-credentials", "--"]
    become_root = ["--user", "--map-root-user"] if makes_user else []
    unshare = ["unshare", *become_root, *_KINDS, "--propagation", "slave", "--"]
    # the death signal is the last thing set: a change of credentials on the way would clear it
    ending = ["setpriv", "--pdeathsig", "KILL", "--"] if dies_with_us else []
    process = subprocess.Popen(  # noqa: S603 - fixed words and checked names
        [*entrance, *unshare, "sh", "-c", _KEEPER, "keeper", name, *ending],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is for us; we end the keepers in our own order
        env=environment,
        cwd="/",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        if process.stdout.readline() == b"ready\n":
            return identify(process.pid), process
        complaint = process.stderr.read().decode(errors="replace").strip()
    process.wait()
    raise LabError(f"host {name} could not be made: {complaint or 'its keeper ended without a word'}")


def inside(keeper: Process, command: Sequence[str], *, user: Process | None, cwd: Path | None = None) -> list[str]:
    """The command line that runs `command` on the keeper's host."""
    if not keeper.is_alive:
        raise LabError("this host's keeper is gone; `haagent lab down` and `haagent lab up` make a new lab")
    kinds = ["-n", "-m", "-u"] if user is None else ["-U", "--preserve-credentials", "-n", "-m", "-u"]
    # entering a mount namespace moves to its root directory: go back to where the caller was
    place = ["env", "-C", str(cwd)] if cwd is not None else []
    return ["nsenter", "-t", str(keeper.pid), *kinds, "--", *place, *command]


def _attempt(command: list[str]) -> str:
    """Empty when it worked, else the complaint."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": search_path()}
        )
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return ""
    return done.stderr.strip() or f"{command[0]} ended with status {done.returncode}"


def _remedy() -> str:
    """What a person can do about it, read from the switches that distributions have for this."""
    switches = (
        ("kernel/unprivileged_userns_clone", 0, 1),
        ("kernel/apparmor_restrict_unprivileged_userns", 1, 0),
        ("user/max_user_namespaces", 0, 10000),
    )
    for switch, closed, opened in switches:
        path = Path("/proc/sys") / switch
        if path.exists() and path.read_text().strip() == str(closed):
            return f"Run it as root, or let users have namespaces: sysctl {switch.replace('/', '.')}={opened}"
    return "Run it as root; in a container, start the container with CAP_SYS_ADMIN and CAP_NET_ADMIN"
