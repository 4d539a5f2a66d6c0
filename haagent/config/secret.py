"""Files with secrets (keys, passwords): read when nobody but root and the agent can read or change them, else refused.

As a service the agent runs as a user of its own, `ACCOUNT`, and what an operator copied as root belongs to root. There
are two ways to let the agent have it:

- the file belongs to that user, mode 0400. `haagent init` and `keygen` make it so. It can be exchanged, and a reload
  reads it anew;
- systemd hands over a copy from the time of the start, under the file's name (`LoadCredential=NAME:FILE`,
  systemd.exec(5)). It is used when the file itself may not be read. Such a copy does not change when the file does, so
  a reload after a change is refused: it would otherwise go on with the old secret and look like it had the new one.

A copy from systemd needs no check: it lies in a directory that only this service can enter.
"""

from __future__ import annotations

import os
import pwd
import stat

ACCOUNT = "haagent"
MAX_BYTES = 16 * 1024

_copied: dict[str, tuple[int, int]] = {}  # files whose copies are in use: inode and time of change, as they were then


class SecretRefused(Exception):
    """A clause that begins with a verb and follows the file's name; says what to do."""


def account() -> tuple[int, int] | None:
    """User and group number of the agent's user; None: this host has no such user."""
    try:
        found = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None
    return found.pw_uid, found.pw_gid


def read_secret(file: str, *, origin: str) -> bytes:
    """`origin`: where to get it if it is not there, as an order. Raises `SecretRefused`."""
    try:
        # Not blocking: a FIFO in the secret's place must not stop the start.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise SecretRefused(f"does not exist; {origin}") from error
    except PermissionError as error:
        descriptor, is_copy = _open_copy(file), True
        if descriptor < 0:
            advice = f"do `chown {ACCOUNT} {file}`, or run this as root"
            raise SecretRefused(f"cannot be read: {error.strerror}; {advice}") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise SecretRefused(f"cannot be read: {cause}; name a readable file") from error
    else:
        is_copy = False
    try:
        if not is_copy:
            _check_owner(os.fstat(descriptor), file)  # of what was opened: the name may mean another file by now
        data = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise SecretRefused(f"is too large; {origin}")
    return data


def _open_copy(file: str) -> int:
    """-1: systemd has handed over no copy of it."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return -1
    try:
        descriptor = os.open(os.path.join(directory, os.path.basename(file)), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    state = _state(file)
    if state is not None and _copied.setdefault(file, state) != state:
        os.close(descriptor)
        advice = f"do `chown {ACCOUNT} {file}` and `chmod 400 {file}`, and reload again; or restart the service"
        raise SecretRefused(f"has changed since the service started, and the agent cannot read it; {advice}")
    return descriptor


def _state(file: str) -> tuple[int, int] | None:
    """Not compared with the copy's time: the clock of a host may be wrong at the start and be set later."""
    try:
        found = os.stat(file)
    except OSError:
        return None  # its directory is closed as well: nothing can be said
    return found.st_ino, found.st_ctime_ns


def _check_owner(found: os.stat_result, file: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretRefused("is not a regular file; name the file itself")
    if found.st_uid not in (0, os.geteuid()):
        agent = account()
        if agent is None or found.st_uid != agent[0]:
            owner = ACCOUNT if agent else "root"
            raise SecretRefused(f"belongs to user {found.st_uid}, who could change it; do `chown {owner} {file}`")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SecretRefused(f"can be read or changed by others (mode {mode:04o}); do `chmod 600 {file}`")
