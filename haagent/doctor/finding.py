"""What a check has found, and a word with another program in order to find it."""

from __future__ import annotations

import asyncio
import enum

import msgspec


class Severity(enum.StrEnum):
    """In the order in which they are told."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OK = "ok"


class Finding(msgspec.Struct, frozen=True):
    severity: Severity
    what: str  # a sentence without its end
    why: str = ""  # why it matters
    mend: str = ""  # a command, or what else to do
    check: str = ""  # filled in by who runs the check


def error(what: str, *, why: str, mend: str) -> Finding:
    return Finding(Severity.ERROR, what, why, mend)


def warning(what: str, *, why: str, mend: str) -> Finding:
    return Finding(Severity.WARNING, what, why, mend)


def info(what: str, *, why: str = "", mend: str = "") -> Finding:
    return Finding(Severity.INFO, what, why, mend)


def ok(what: str) -> Finding:
    return Finding(Severity.OK, what)


async def output_of(*words: str) -> bytes | None:
    """What the program prints; None when it fails. It ends with the check that asks, whose time may be over."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    return None if process.returncode else output
