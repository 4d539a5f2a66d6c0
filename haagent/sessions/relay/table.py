"""What the commands of this Redis do, as it says itself (`COMMAND`): which may be repeated, and which are waited for.

A command that it does not name may be anything, so it counts as a change.
"""

from __future__ import annotations

import enum
from typing import Any


class Nature(enum.IntEnum):
    READ = 0  # to do it twice is to do it once
    ONCE = 1  # it is not repeated, and no replica has to have it
    CHANGE = 2


SCRIPTS = {b"EVAL", b"EVALSHA", b"FCALL"}  # nobody knows what they do

Natures = dict[bytes, "Nature | Natures"]


def natures(answer: Any) -> Natures:
    """Of the answer to `COMMAND`. Raises `TypeError` or `IndexError` when it is none."""
    found: Natures = {}
    for row in answer:
        name = bytes(row[0]).upper()
        below = {bytes(each[0]).upper().partition(b"|")[2]: _nature(each) for each in (row[9] if len(row) > 9 else ())}
        found[name] = {**below} if below else _nature(row)
    return found


def nature_of(table: Natures, name: bytes, args: list[bytes]) -> Nature:
    found = table.get(name, Nature.CHANGE)
    if isinstance(found, dict):
        below = found.get(args[1].upper(), Nature.CHANGE) if len(args) > 1 else Nature.READ
        return below if isinstance(below, Nature) else Nature.CHANGE
    return found


def _nature(row: Any) -> Nature:
    flags = {bytes(flag.encode() if isinstance(flag, str) else flag) for flag in row[2]}
    if b"write" in flags or bytes(row[0]).upper() in SCRIPTS:
        return Nature.CHANGE
    if b"readonly" not in flags and flags & {b"admin", b"may_replicate"}:
        return Nature.ONCE
    return Nature.READ
