"""What SCAN and HSCAN take."""

from __future__ import annotations

import re
from typing import NamedTuple

from haagent.sessions.store.numbers import needed
from haagent.sessions.store.replies import SYNTAX, Refused

_CURSOR = re.compile(rb"(?:[+-]?[0-9]{1,20})?")  # as strtoul reads it: nothing is zero


class Scan(NamedTuple):
    most: int = 10
    pattern: bytes = b""
    kind: bytes = b""


def cursor_of(text: bytes) -> int:
    if not _CURSOR.fullmatch(text) or abs(int(text or b"0")) >= 2**64:
        raise Refused("ERR invalid cursor")
    return int(text or b"0") % 2**64


def scan_options(args: list[bytes], *, first: int, with_type: bool) -> Scan:
    wanted = Scan()
    for at in range(first, len(args), 2):
        option = args[at].upper()
        if at + 1 == len(args):
            raise Refused(SYNTAX)
        value = args[at + 1]
        if option == b"COUNT":
            wanted = wanted._replace(most=needed(value))
            if wanted.most < 1:
                raise Refused(SYNTAX)
        elif option == b"MATCH":
            wanted = wanted._replace(pattern=value)
        elif option == b"TYPE" and with_type:
            wanted = wanted._replace(kind=value.lower())
        else:
            raise Refused(SYNTAX)
    return wanted
