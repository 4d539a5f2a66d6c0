"""Numbers as Redis reads and writes them: 64-bit integers without ornament, long doubles."""

from __future__ import annotations

import decimal
import re

from haagent.sessions.store.replies import Refused

MAX_INTEGER, MIN_INTEGER = 2**63 - 1, -(2**63)

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def integer(text: bytes | bytearray) -> int | None:
    """string2ll: no sign but `-`, no blanks, no leading zeros, 64 bits; None: that is none."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if MIN_INTEGER <= number <= MAX_INTEGER else None


NO_INTEGER = "ERR value is not an integer or out of range"


def needed(text: bytes, refusal: str = NO_INTEGER) -> int:
    number = integer(text)
    if number is None:
        raise Refused(refusal)
    return number


# As precise as a long double needs, and no more: what came out of an addition is rounded as Redis writes it.
_EXACT = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_LONGEST = 5 * 1024  # characters, MAX_LONG_DOUBLE_CHARS
_HUGE = decimal.Decimal("1.1897314953572317650857593266280071e4932")  # the largest long double
_FLOAT = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE)


def decimal_of(text: bytes, refusal: str) -> decimal.Decimal:
    """strtold of the whole text."""
    if not _FLOAT.fullmatch(text) or len(text) >= _LONGEST:
        raise Refused(refusal)
    number = _EXACT.create_decimal(text.decode())
    if number.is_finite() and abs(number) > _HUGE:
        raise Refused(refusal)
    return number


def added(value: decimal.Decimal, by: decimal.Decimal) -> bytes:
    """Their sum as `%.17Lf` writes it, without the zeros at its end."""
    total = _EXACT.add(value, by) if value.is_finite() and by.is_finite() else decimal.Decimal("inf")
    if not total.is_finite() or abs(total) > _HUGE:
        raise Refused("ERR increment would produce NaN or Infinity")
    text = f"{total:.17f}".rstrip("0").rstrip(".")
    return b"0" if text in ("-0", "") else text.encode()
