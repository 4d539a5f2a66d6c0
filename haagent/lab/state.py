"""What is known of a lab between two commands: one JSON file in the lab's directory, changed under a lock.

The directory is all that a lab leaves on the file system, and `lab down` removes it. The file is written before and
after each process is started, so that a command killed half way leaves something that `lab down` can clean.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from haagent.lab.damage import Damage
from haagent.lab.errors import LabError
from haagent.lab.plan import Plan
from haagent.lab.processes import Process

_FILE = "lab.json"
_LOCK = "lab.lock"


class HostState(msgspec.Struct):
    keeper: Process
    agent: Process | None = None
    crashed: bool = False


class LabState(msgspec.Struct):
    name: str
    plan: Plan
    command: tuple[str, ...]  # the agent's, with {config} {node} {run} {state} to fill in
    root: Process | None = None  # without root: who keeps the user namespace
    hosts: dict[str, HostState] = {}
    damage: Damage = msgspec.field(default_factory=Damage)


def home() -> Path:
    """Where the labs of this user live."""
    chosen = os.environ.get("HAAGENT_LAB_HOME")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/haagent-lab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime) / "haagent-lab"
    return Path(f"/tmp/haagent-lab-{os.geteuid()}")  # noqa: S108 - created 0700 and its owner checked


def directory_of(name: str) -> Path:
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise LabError(f"`{name}` is no name for a lab; use letters, digits, - and _")
    return home() / name


def make_directory(directory: Path) -> None:
    """Of this user alone: the cluster key is in it. In /tmp somebody else may have been there first."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.parent.stat().st_uid != os.geteuid():
        raise LabError(f"{directory.parent} belongs to somebody else; set HAAGENT_LAB_HOME to a directory of yours")
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(
            f"lab `{directory.name}` is up already; `haagent lab down --name {directory.name}` ends it, "
            "or choose another --name"
        ) from None


def save(directory: Path, state: LabState) -> None:
    fresh = directory / f"{_FILE}.new"
    fresh.write_bytes(msgspec.json.encode(state))
    fresh.replace(directory / _FILE)


def load(directory: Path) -> LabState:
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=LabState)
    except FileNotFoundError:
        raise LabError(
            f"there is no lab `{directory.name}` in {directory.parent}; `haagent lab up` makes one"
        ) from None
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise LabError(f"{directory / _FILE} cannot be read ({error}); `haagent lab down` removes it") from None


@contextmanager
def changing(directory: Path) -> Iterator[LabState]:
    """The state, to be changed: nobody else changes it meanwhile, and it is saved if the change succeeded."""
    if not directory.is_dir():
        load(directory)
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load(directory)
        yield state
        save(directory, state)
