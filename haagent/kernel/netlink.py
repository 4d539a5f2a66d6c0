"""Netlink, as all rooms speak it: messages and attributes in bytes, and a socket that asks and has its answer.

`struct` and not pyroute2: answers are read in the middle of a move, and the guardian, which has to stay small, speaks
it too. This module imports little of the standard library and nothing else.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence

ERROR, DONE = 2, 3
REQUEST, ACK, DUMP_INTERRUPTED, DUMP = 0x1, 0x4, 0x10, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800  # of what makes something
ACK_TLVS = 0x200  # of an acknowledgement: attributes follow

SOL_NETLINK, ADD_MEMBERSHIP, CAP_ACK, EXT_ACK = 270, 1, 10, 11
MAX_DATAGRAM = 1 << 16
AT_ONCE = 128  # requests: the queue has room for 277 acknowledgements
ANSWER_S = 1.0  # an answer is there at once; a kernel that needs longer than this is not answering
MAX_LISTS = 5  # a list that changed while it was read is read again

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_SEQUENCE_AT = 8
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NUMBER = struct.Struct("=I")
_CODE = struct.Struct("=i")


class Refused(Exception):
    """The kernel did not do it, or did not answer. The text says what."""


def message(kind: int, body: bytes, *, flags: int = 0, sequence: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, REQUEST | flags, sequence, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def records(data: bytes | bytearray, head: struct.Struct, at: int = 0) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Of each what it begins with, its length before all, and where it begins and ends."""
    size, read, last = head.size, head.unpack_from, len(data)
    while at + size <= last:
        begin = read(data, at)
        end = at + begin[0]
        if begin[0] < size or end > last:
            return
        yield begin, at, end
        at = (end + 3) & ~3


def split(datagram: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Type, flags, sequence number, sender's port and whole bytes of each message."""
    for (_, kind, flags, sequence, port), at, end in records(datagram, HEADER):
        yield kind, flags, sequence, port, datagram[at:end]


def attributes(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Type and payload. `at`: where they begin in a message."""
    for (_, kind), begin, end in records(data, _ATTRIBUTE, at):
        yield kind & 0x3FFF, data[begin + _ATTRIBUTE.size : end]


def places(data: bytes | bytearray, at: int = 0) -> dict[int, int]:
    """Where the payload of each type of attribute begins."""
    return {kind & 0x3FFF: begin + _ATTRIBUTE.size for (_, kind), begin, _ in records(data, _ATTRIBUTE, at)}


def read_text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def read_error(answer: bytes) -> tuple[int, str]:
    """errno (0: an acknowledgement) and the kernel's own explanation, if it gave one."""
    code = -int(_CODE.unpack_from(answer, HEADER.size)[0])
    if not code or not HEADER.unpack_from(answer)[2] & ACK_TLVS:
        return code, ""
    # CAP_ACK is set: of the request only the header is repeated, then come the attributes.
    return code, read_text(dict(attributes(answer, HEADER.size + _CODE.size + HEADER.size)).get(1, b""))


def open_socket(protocol: int = socket.NETLINK_ROUTE, *, groups: int = 0) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    opened.setsockopt(SOL_NETLINK, CAP_ACK, 1)
    opened.setsockopt(SOL_NETLINK, EXT_ACK, 1)
    opened.bind((0, groups))
    opened.setblocking(False)
    return opened


def arrived(opened: socket.socket, *, most: int = sys.maxsize) -> Iterator[bytes | None]:
    """What has come in by now. None: the queue was full, and messages were lost."""
    for _ in range(most):
        try:
            yield opened.recv(MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None


class Inquirer:
    """A socket for requests to rtnetlink, from `open` to `close`. The kernel works on a request inside `send`, and its
    answer lies in the queue when that returns: asking is synchronous and needs no loop. It may raise `Refused`."""

    def __init__(self, *, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._socket: socket.socket | None = None
        self._readable = select.poll()
        self._sequence = 0
        self.port = 0

    def open(self) -> None:
        if self._socket is None:
            self._socket = open_socket()
            self._readable.register(self._socket, select.POLLIN)
            self.port = self._socket.getsockname()[0]

    def close(self) -> None:
        if self._socket is not None:
            self._readable.unregister(self._socket)
            self._socket.close()
            self._socket, self.port = None, 0

    def exchange(self, requests: Sequence[bytes]) -> list[tuple[int, str]]:
        """Sent together, each with the wish to be acknowledged. Per request, in their order: errno and text."""
        answers: dict[int, tuple[int, str]] = {}
        for first in range(0, len(requests), AT_ONCE):
            some = requests[first : first + AT_ONCE]
            for number, kind, _flags, answer in self._ask(some):
                if kind == ERROR:
                    answers[first + number] = read_error(answer)
                if len(answers) == first + len(some):
                    break
        return [answers[number] for number in range(len(requests))]

    def listed(self, kind: int, body: bytes, *, wanted: int) -> list[bytes]:
        """All that the kernel has, as messages of the type `wanted`."""
        request = message(kind, body, flags=DUMP)
        for _ in range(MAX_LISTS):
            found, is_whole = [], True
            for _, told, flags, answer in self._ask([request]):
                is_whole = is_whole and not flags & DUMP_INTERRUPTED
                if told == wanted:
                    found.append(answer)
                elif told == ERROR:
                    code, said = read_error(answer)
                    raise Refused(f"the kernel lists nothing: {said or os.strerror(code)}")
                elif told == DONE:
                    break
            if is_whole:
                break
        return found

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """To one question: its type, and the whole of it."""
        _, kind, _, answer = next(self._ask([request]))
        return kind, answer

    def _ask(self, requests: Sequence[bytes]) -> Iterator[tuple[int, int, int, bytes]]:
        """Which request is answered; the answer's type, flags, and the whole of it. Who asks knows the last one."""
        if self._socket is None:
            raise Refused("the netlink socket is not open")
        together, at = bytearray().join(requests), 0
        numbers: dict[int, int] = {}
        for number, request in enumerate(requests):
            self._sequence = (self._sequence + 1) & 0xFFFFFFFF
            numbers[self._sequence] = number
            _NUMBER.pack_into(together, at + _SEQUENCE_AT, self._sequence)
            at += len(request)
        try:
            self._socket.send(together)
            while self._readable.poll(1000 * self._answer_s):
                for kind, flags, sequence, _port, answer in split(self._socket.recv(MAX_DATAGRAM)):
                    if sequence in numbers:
                        yield numbers[sequence], kind, flags, answer
        except OSError as error:
            raise Refused(f"netlink: {error.strerror}") from error
        raise Refused(f"the kernel did not answer within {self._answer_s:g} s")
