"""Lines for the systemd journal, with fields to select by: one datagram for each, in its native protocol.

(systemd.io/JOURNAL_NATIVE_PROTOCOL.) Not by systemd's own library for Python: that keeps the interpreter to itself
while it waits for a journal that does not read, and the agent would stand still with it.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator

PLACE = "/run/systemd/journal/socket"
MAX_BYTES = 64 * 1024  # of a line; a datagram has room for more
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


def priority_of(level: int) -> int:
    """Syslog's."""
    return next((number for least, number in PRIORITIES.items() if level >= least), 7)


class JournalHandler(logging.Handler):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(b"".join(_field(name, value) for name, value in self._fields(record)), PLACE)
        except OSError:  # it is being restarted, say: the line goes to stderr, with the reason
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", self.format(record)
        yield "PRIORITY", str(priority_of(record.levelno))
        yield "SYSLOG_IDENTIFIER", "haagent"
        yield "LOGGER", record.name
        yield "NODE", self._node
        for name in ("EVENT", "GROUP"):
            if value := getattr(record, name, ""):
                yield name, value


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")[:MAX_BYTES]
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"
