"""A file of sessions: `haagent sessions export` writes it, `import` reads it.

    haagent sessions 1\\n        what it is, and the version of what follows
    (length, entry) ...          4 bytes, and msgpack: database, key, expiry, value
    (0, count, SHA-256)          the end: how many entries, and the sum of everything before

The sum tells a damaged file from a whole one, and a missing end tells one that was cut short. Neither is a signature:
who may write the file may write sessions.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

KIND, VERSION = b"haagent sessions ", b"1"
MOST = 64 << 20  # bytes of an entry; a value has at most 16 MiB
_LENGTH, _COUNT = struct.Struct(">I"), struct.Struct(">Q")


class Entry(msgspec.Struct, array_like=True, frozen=True):
    db: int
    key: bytes
    expires_ms: int  # of the Unix clock; 0: never
    value: bytes | dict[bytes, bytes]


class BadFile(Exception):
    """What is wrong with it, without its name."""


_encoder, _decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Entry)


class Writer:
    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        self._file, self._sum = file, hashlib.sha256()
        self._write(KIND + VERSION + b"\n")

    def add(self, entry: Entry) -> None:
        data = _encoder.encode(entry)
        self._write(_LENGTH.pack(len(data)) + data)
        self.count += 1

    def end(self) -> None:
        self._write(_LENGTH.pack(0) + _COUNT.pack(self.count))
        self._file.write(self._sum.digest())

    def _write(self, data: bytes) -> None:
        self._sum.update(data)
        self._file.write(data)


def entries(file: BinaryIO) -> Iterator[Entry]:
    """From its beginning. Raises `BadFile`, perhaps at its very end: first read it for nothing but that."""
    file.seek(0)
    total, count = hashlib.sha256(), 0

    def taken(size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise BadFile("is cut short; take another copy")
        total.update(data)
        return data

    head = file.readline(len(KIND) + 16)
    total.update(head)
    if not head.startswith(KIND):
        raise BadFile("holds no sessions; name a file that `haagent sessions export` has written")
    if head != KIND + VERSION + b"\n":
        raise BadFile("was written by another release, in a form that this one does not know; import it with that one")
    while size := _LENGTH.unpack(taken(_LENGTH.size))[0]:
        if size > MOST:
            raise BadFile("is damaged; take another copy")
        try:
            yield _decoder.decode(taken(size))
        except msgspec.DecodeError:
            raise BadFile("is damaged; take another copy") from None
        count += 1
    said = _COUNT.unpack(taken(_COUNT.size))[0]
    wanted = total.digest()
    if taken(len(wanted)) != wanted or said != count or file.read(1):
        raise BadFile("is damaged; take another copy")
