"""Where the agent's socket and lock are, and how to reach a socket whose path is too long.

The lock (`RUN_DIR/haagent.lock`, flock) is what makes a run directory belong to one agent. It goes with the processes
that hold it, the agent and its guardian, however they end, so nothing is ever stale: who has the lock may replace
whatever else an earlier life left. The file stays; to remove it would let two agents lock two files of the same name.
Nobody else may open it: a lock can be held by whoever can read it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import stat
import time
from collections.abc import Iterator

from haagent.control.directories import Unsafe, checked_directory, is_trusted

SOCKET = "haagent.sock"
LOCK = "haagent.lock"
MAX_PATH = 107  # bytes of a socket's path: sun_path of unix(7) is 108 with its final zero


class AlreadyRunning(Exception):
    """Another agent has this run directory."""


@contextlib.contextmanager
def socket_path(run_dir: str) -> Iterator[str]:
    """A path for bind or connect, valid inside the `with`; a long one goes through a descriptor of its directory."""
    path = os.path.join(run_dir, SOCKET)
    if len(os.fsencode(path)) <= MAX_PATH:
        yield path
        return
    directory = os.open(run_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET}"
    finally:
        os.close(directory)


@contextlib.contextmanager
def run_lock(run_dir: str, *, pid: int | None = None) -> Iterator[int]:
    """Own the run directory, made if need be. AlreadyRunning: another agent does. Unsafe: anybody else could.

    `pid`: who is to be named as its owner, if not this process. What is yielded is the lock's descriptor: whoever has a
    copy of it keeps the lock.
    """
    lock = _open_lock(run_dir)
    try:
        _check_lock(lock, run_dir)
        if not _locked(lock):
            raise AlreadyRunning(f"another agent (process {_pid(lock) or 'unknown'}) uses {run_dir}")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{pid or os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _open_lock(run_dir: str) -> int:
    try:
        directory = checked_directory(run_dir)
    except FileNotFoundError:
        os.makedirs(run_dir, mode=0o755, exist_ok=True)
        directory = checked_directory(run_dir)
    try:
        return os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR):
            raise _unusable(run_dir, "is not a file") from error
        raise
    finally:
        os.close(directory)


def _check_lock(lock: int, run_dir: str) -> None:
    found = os.fstat(lock)
    if not stat.S_ISREG(found.st_mode):
        raise _unusable(run_dir, "is not a file")
    if not is_trusted(found.st_uid):
        raise _unusable(run_dir, f"belongs to user {found.st_uid}")
    if found.st_mode & 0o077:
        os.fchmod(lock, 0o600)  # of an earlier release


def _unusable(run_dir: str, why: str) -> Unsafe:
    path = os.path.join(run_dir, LOCK)
    return Unsafe(f"{path} {why}", f"rm -r {shlex.quote(path)}")


def _locked(lock: int) -> bool:
    """Tried a few times within 60 ms: `running_pid` holds the lock for an instant to see whether it is free."""
    for _ in range(4):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def running_pid(run_dir: str) -> str | None:
    """The process that has the run directory (may be an empty string: not known); None: nobody."""
    try:
        lock = os.open(os.path.join(run_dir, LOCK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):
        return None  # never started here, or not ours to know
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(lock)
    finally:
        os.close(lock)
    return None


def _pid(lock: int) -> str:
    text = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    return text if text.isdigit() else ""
