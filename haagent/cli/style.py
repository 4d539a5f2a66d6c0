"""Colour, where a person looks: on a terminal, unless NO_COLOR is set (https://no-color.org). Never the only sign."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from haagent.core.event_kinds import Kind, Severity, severity_of

GREEN, YELLOW, RED, BOLD, DIM = "32", "33", "31", "1", "2"

STATES = {
    "online": GREEN,
    "witness": GREEN,
    "active": GREEN,
    "standby": YELLOW,
    "wanting": YELLOW,
    "claiming": YELLOW,
    "taking": YELLOW,
    "yielding": YELLOW,
    "dropping": YELLOW,
    "offline": RED,
    "unheld": RED,
}
SEVERITIES = {Severity.INFO: "", Severity.WARNING: YELLOW, Severity.ERROR: RED}
KINDS: dict[str, str] = {Kind.TAKEN: GREEN, Kind.ONLINE: GREEN, Kind.FIT: GREEN, Kind.ASKED: BOLD}  # good news, and why
KIND_WIDTH = max(len(kind) for kind in Kind)


def moment(wall: float) -> str:
    """Seconds of the epoch as local time, to the millisecond."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall)) + f".{int(wall * 1000) % 1000:03d}"


@dataclass(frozen=True)
class Style:
    coloured: bool = False

    @classmethod
    def of_stdout(cls) -> Style:
        return cls(coloured=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured and code else text

    def state(self, text: str) -> str:
        """`text` may be padded already."""
        return self.paint(text, STATES.get(text.strip(), ""))

    def kind(self, text: str) -> str:
        """As wide as the longest, so that the texts after it stand below one another."""
        return self.paint(text.ljust(KIND_WIDTH), KINDS.get(text, SEVERITIES[severity_of(text)]))
