"""Numbers as Redis reads and writes them: 64-bit integers without ornament, long doubles."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

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


# A long double of x86: 64 bits of mantissa.
_MANTISSA, _LONGEST = 64, 5 * 1024  # characters: MAX_LONG_DOUBLE_CHARS
_LARGEST, _SMALLEST = 4932, -4950  # powers of ten; what is beyond is no number, and costs nothing to refuse
_FLOAT = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE)


def long_double(text: bytes, refusal: str) -> Fraction | None:
    """strtold of the whole text; None: an infinity."""
    if not _FLOAT.fullmatch(text) or len(text) >= _LONGEST:
        raise Refused(refusal)
    number = Decimal(text.decode())
    if not number.is_finite():
        return None
    if number and not _SMALLEST <= number.adjusted() < _LARGEST:
        raise Refused(refusal)
    return _rounded(Fraction(number))


def added(value: Fraction | None, by: Fraction | None) -> bytes:
    """Their sum as `%.17Lf` writes it, without the zeros at its end."""
    total = None if value is None or by is None else _rounded(value + by)
    if total is None or abs(total) >= 10**_LARGEST:
        raise Refused("ERR increment would produce NaN or Infinity")
    digits = f"{abs(round(total * 10**17)):018d}"
    text = f"{digits[:-17]}.{digits[-17:]}".rstrip("0").rstrip(".")
    return f"-{text}".encode() if total < 0 and text != "0" else text.encode()


def _rounded(number: Fraction) -> Fraction:
    if not number:
        return number
    exponent = abs(number.numerator).bit_length() - number.denominator.bit_length() - _MANTISSA
    unit = Fraction(2) ** exponent
    if abs(number) / unit >= 2**_MANTISSA:
        unit *= 2
    return round(number / unit) * unit
