"""The run directory and the state directory: whose they have to be before anything in them is believed.

Somebody who can write in the run directory can put a lock or a link in the agent's way, and somebody who can write in
the state directory gives it orders. So both belong to root or to the agent's user, nobody else can write there, and
neither is a link. The start asks this, and `haagent doctor` asks the same. Nothing is mended here: to change an owner
or a mode by a path may be to change that of another file by then.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat

WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class Unsafe(Exception):
    """`what` is a sentence without its end, `mend` the command after which it is not so."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}: others could use it against the agent. Do `{mend}`, or name another directory")
        self.what, self.mend = what, mend


def checked_directory(path: str) -> int:
    """A descriptor for what is found there (`O_PATH`). Raises `Unsafe`, or OSError."""
    path = path.rstrip("/") or "/"  # with a slash at the end a link would be followed
    try:
        descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        kind = "a link" if stat.S_ISLNK(os.lstat(path).st_mode) else "not a directory"
        raise Unsafe(f"{path} is {kind}", f"rm {shlex.quote(path)}") from None
    try:
        _check(path, os.fstat(descriptor))
    except Unsafe:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: str, found: os.stat_result) -> None:
    mode, quoted = stat.S_IMODE(found.st_mode), shlex.quote(path)
    close = f"chmod go-w {quoted}"
    if not is_trusted(found.st_uid):
        own = f"chown {_owner()} {quoted}"
        raise Unsafe(f"{path} belongs to user {found.st_uid}", f"{own} && {close}" if mode & WRITABLE else own)
    if mode & WRITABLE:
        raise Unsafe(f"{path} can be changed by others (mode {mode:04o})", close)


def is_trusted(owner: int) -> bool:
    from haagent.config.secret import account  # brings the whole configuration along, which no client needs

    agent = account()
    return owner in (0, os.geteuid()) or (agent is not None and owner == agent[0])


def _owner() -> str:
    """Whom a directory should belong to: the agent's user, where it is or will be the one who uses it."""
    from haagent.config.secret import ACCOUNT, account

    mine, agent = os.geteuid(), account()
    if agent is not None and mine in (0, agent[0]):
        return ACCOUNT
    try:
        return pwd.getpwuid(mine).pw_name
    except KeyError:
        return str(mine)
