"""The cluster key: 32 random bytes, written as a line of base64. Who has it is a member.

A file may hold several lines, and several files may be listed, for rotation: the first key seals, all of them open.
A file that others can read is refused, because a key that leaked unnoticed is worse than an agent that does not start.
No message ever contains a part of a key.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable

from haagent.config.files import write_whole

KEY_BYTES = 32
MAX_KEYS = 8  # the current one, the next one, and slack; each unknown datagram is tried with all
MAX_FILE_BYTES = 16 * 1024
KEY_MODE = 0o600


class KeyFileError(Exception):
    """The keys cannot be used. `str()` has one line for each fault, with what to do."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class _Refused(Exception):
    pass


def generate_key() -> bytes:
    return os.urandom(KEY_BYTES)


def generate_key_text() -> str:
    key = base64.b64encode(generate_key()).decode("ascii")
    return f"# haagent cluster key. Secret; the same on every node, mode 0600.\n{key}\n"


def write_key(path: str, *, replace: bool = False) -> None:
    """Raises `KeyFileError` when there is one already: a new key cuts off the nodes that still have the old one."""
    try:
        write_whole(path, generate_key_text(), mode=KEY_MODE, replace=replace)
    except FileExistsError as error:
        raise KeyFileError([f"{path}: exists; keep it, or replace it with --force on every node"]) from error
    except OSError as error:
        raise KeyFileError(
            [f"{path}: cannot be written: {error.strerror}; choose another place, or be root"]
        ) from error


def load_keys(files: Iterable[str]) -> tuple[bytes, ...]:
    """All keys of all files, in order. Raises `KeyFileError` with every fault."""
    keys: list[bytes] = []
    faults: list[str] = []
    for file in files:
        try:
            keys += _decode(_read(file), file)
        except _Refused as refused:
            faults.append(f"{file}: {refused}")
    if faults:
        raise KeyFileError(faults)
    if not keys:
        raise KeyFileError(["no key file is configured; make one with `haagent keygen`, and name it in `key_file`"])
    if len(set(keys)) < len(keys):
        raise KeyFileError(["the same key is listed twice; remove one of them"])
    if len(keys) > MAX_KEYS:
        raise KeyFileError([f"{len(keys)} keys are listed; {MAX_KEYS} is the most: remove the oldest"])
    return tuple(keys)


def _read(file: str) -> bytes:
    try:
        # Not blocking: a FIFO in the key's place must not stop the start.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise _Refused(f"does not exist; copy it from another node, or make it with `haagent keygen {file}`") from error
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise _Refused(f"cannot be read: {cause}; run as root, or make the agent's user its owner") from error
    try:
        # Asked of what was opened, not of the name: it cannot be exchanged in between.
        _check_owner(os.fstat(descriptor), file)
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise _Refused("is too large for a key file; make one with `haagent keygen`")
    return data


def _check_owner(found: os.stat_result, file: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _Refused("is not a regular file; name the key file itself")
    if found.st_uid not in {0, os.geteuid()}:
        raise _Refused(f"belongs to user {found.st_uid}, who could change it; do `chown root {file}`")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise _Refused(f"can be read or changed by others (mode {mode:04o}); do `chmod 600 {file}`")


def _decode(data: bytes, file: str) -> list[bytes]:
    keys = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            # Without `from`: the cause's arguments may hold the text of the key.
            raise _Refused(
                f"line {number} is not {KEY_BYTES} bytes of base64; make one with `haagent keygen`"
            ) from None
        if key == bytes(KEY_BYTES):
            raise _Refused(f"line {number} is a key of zeros; make one with `haagent keygen`")
        keys.append(key)
    if not keys:
        raise _Refused("has no key in it; make one with `haagent keygen`")
    return keys
