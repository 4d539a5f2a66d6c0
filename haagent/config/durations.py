"""Durations as people write them: `100ms`, `2s`, `1m`, `1h`. A number without a unit is never guessed at.

`Duration` lets a plug-in declare such an option: `interval: Duration = Duration(1.0)`. It is a float of seconds.
"""

from __future__ import annotations

import re
from decimal import Decimal

UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class Duration(float):
    """Seconds, written in the file with a unit."""


class NotADuration(ValueError):
    """Says what to write instead."""


def parse_duration(text: str) -> Duration:
    found = FORM.fullmatch(text)
    if found:
        # Decimal, so that 350ms is the same number as 0.35 in a program.
        return Duration(Decimal(found[1]) * UNITS[found[2]])
    if NUMBER.fullmatch(text):
        raise NotADuration(f"it needs a unit: write `{text[:9]}ms` or `{text[:9]}s`")
    raise NotADuration("write a number and a unit, such as `100ms`, `2s`, `1m` or `1h`")


def format_duration(seconds: float) -> str:
    """In the largest unit that keeps it a whole number, else in milliseconds: 60.0 is `1m`, 90.0 is `90s`."""
    milliseconds = round(seconds * 1000, 3)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds and milliseconds % size == 0:
            return f"{int(milliseconds // size)}{unit}"
    return f"{milliseconds:g}ms"
