"""The agent's files: configuration, keys, and the directories that it uses."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from haagent.config import KeyFileError, load_keys
from haagent.config.secret import ACCOUNT, account
from haagent.control.directories import Unsafe, checked_directory
from haagent.core.wire import key_id
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, warning

ENOUGH_BYTES = 16 * 1024 * 1024  # what is kept is a few KiB; a disk with less than this is full


def configuration(subject: Subject) -> Iterator[Finding]:
    config = subject.config
    if config is None:
        yield warning(
            "there is no configuration yet: only the host itself is examined",
            why="Most of what can go wrong is between the nodes.",
            mend="haagent init --nodes A=...,B=... --vip ADDRESS/PREFIX",
        )
        return
    digest = (subject.agent or {}).get("digest")
    if digest and digest != config.digest:
        yield warning(
            f"{config.path} has changed since the running agent read it",
            why="Doctor examines the file; the agent still uses the earlier one.",
            mend="systemctl reload haagent",
        )
    yield ok(f"this host is node {config.me} of cluster {config.cluster}; configuration {config.digest}")


def key(subject: Subject) -> Iterator[Finding]:
    config = subject.config
    if config is None:
        return
    if not config.key_files:
        yield warning(
            "heartbeats are neither encrypted nor authenticated (`insecure: true`)",
            why="Any host that can send to the link can move the groups.",
            mend="haagent keygen, and remove `insecure` on every node",
        )
        return
    for file in config.key_files:
        yield from _of_key_file(file)


def _of_key_file(file: str) -> Iterator[Finding]:
    try:
        keys = load_keys([file])
    except KeyFileError as refused:
        if os.geteuid() != 0 and _is_there(file):
            yield info(f"{file} may not be read by this user, as it should be", mend="Run `haagent doctor` as root.")
            return
        why = "The agent does not start without a key, and a key that others can read protects nothing."
        for said in refused.faults:
            yield error(said, why=why, mend=said.rpartition("; ")[2])
        return
    names = ", ".join(key_id(each).hex() for each in keys)
    yield ok(f"{file} has key {names}: compare it with the other nodes'")
    agent = account()
    if agent is not None and os.stat(file).st_uid != agent[0]:
        yield info(
            f"{file} does not belong to the user {ACCOUNT}",
            why="The service has a copy of it from its start; after the file is exchanged a reload is refused.",
            mend=f"chown {ACCOUNT} {file} && chmod 400 {file}",
        )


def _is_there(file: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(file).st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def _file_system(directory: str) -> tuple[str, os.statvfs_result]:
    """Of a directory that is not there: of the one that it will be made in."""
    try:
        return directory, os.statvfs(directory)
    except FileNotFoundError:
        return _file_system(os.path.dirname(directory) or ".")


def _refusal(directory: str) -> Finding | None:
    """What the start says of it."""
    try:
        os.close(checked_directory(directory))
    except FileNotFoundError:
        return None  # it will be made
    except Unsafe as refused:
        return error(
            refused.what, why="Others could use it against the agent, which does not start.", mend=refused.mend
        )
    return None


def run_dir(subject: Subject) -> Iterator[Finding]:
    yield _refusal(subject.run_dir) or ok(f"{subject.run_dir} is the agent's alone")


def state_dir(subject: Subject) -> Iterator[Finding]:
    if (refusal := _refusal(subject.state_dir)) is not None:
        yield refusal
        return
    directory, found = _file_system(subject.state_dir)
    why = "Operators' orders (standby, maintenance) would not survive a restart."
    if found.f_flag & os.ST_RDONLY:
        yield error(f"{directory} is on a read-only file system", why=why, mend=f"mount -o remount,rw {directory}")
    elif found.f_bavail * found.f_frsize < ENOUGH_BYTES:
        left = found.f_bavail * found.f_frsize // 1024
        yield warning(f"{directory} has only {left} KiB left", why=why, mend=f"df -h {directory}, and make room")
    elif found.f_files and not found.f_favail:
        yield warning(f"{directory} has no inode left", why=why, mend=f"df -i {directory}, and remove files")
    else:
        yield ok(f"{directory} has room")
