"""The cluster key: 32 random bytes, written as a line of base64. Who has it is a member.

A file may hold several lines, and several files may be listed, for rotation: the first key seals, all of them open.
A file that others can read is refused, because a key that leaked unnoticed is worse than an agent that does not start.
No message ever contains a part of a key.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable

from haagent.config.files import write_whole
from haagent.config.secret import SecretRefused, account, read_secret

KEY_BYTES = 32
MAX_KEYS = 8  # the current one, the next one, and slack; each unknown datagram is tried with all
KEY_MODE = 0o600
GIVEN_MODE = 0o400  # of a key that was given to the agent's user, which has no business changing it


class KeyFileError(Exception):
    """The keys cannot be used. `str()` has one line for each fault, with what to do."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def generate_key_text() -> str:
    key = base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")
    return f"# A haagent cluster key. Keep it secret. Every node has the same; only its owner may read it.\n{key}\n"


def write_key(path: str, *, replace: bool = False) -> None:
    """Raises `KeyFileError` when there is one already: a new key cuts off the nodes that still have the old one.

    Written by root it is the agent's user's, where there is one: only so can a reload read a changed key.
    """
    owner = account() if os.geteuid() == 0 else None
    mode = GIVEN_MODE if owner else KEY_MODE
    try:
        write_whole(path, generate_key_text(), mode=mode, owner=owner, replace=replace)
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
            origin = f"copy it from another node, or make it with `haagent keygen {file}`"
            keys += _decode(read_secret(file, origin=origin))
        except SecretRefused as refused:
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


def load_password(file: str) -> str:
    """The first line of a file that is guarded like a key. Raises `KeyFileError`."""
    try:
        data = read_secret(file, origin="write the password into it, mode 0600")
        text = data.split(b"\n")[0].decode("utf-8", "replace").strip()
        if not text:
            raise SecretRefused("has no password in its first line; write it there")
    except SecretRefused as refused:
        raise KeyFileError([f"{file}: {refused}"]) from None
    return text


def _decode(data: bytes) -> list[bytes]:
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
            raise SecretRefused(
                f"line {number} is not {KEY_BYTES} bytes of base64; make one with `haagent keygen`"
            ) from None
        if key == bytes(KEY_BYTES):
            raise SecretRefused(f"line {number} is a key of zeros; make one with `haagent keygen`")
        keys.append(key)
    if not keys:
        raise SecretRefused("has no key in it; make one with `haagent keygen`")
    return keys
