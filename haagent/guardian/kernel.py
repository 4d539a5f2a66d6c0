"""Removing addresses with the standard library alone: list what is there, and strike what must not be.

A removal is the kernel's own report of the address sent back with another type, as in `haagent.address`: it is exact
whatever the prefix, and needs no configuration. The list is asked for before, not after: what it shows is removed, each
with the kernel's word for it, and the agent, which alone would add one, is dead. So the acknowledgements prove that
none is left, and the time between the removal and the last words is as short as it can be.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator, Sequence

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, ACK, DUMP, DUMP_INTERRUPTED = 0x1, 0x4, 0x300, 0x10
IFA_ADDRESS, IFA_LOCAL = 1, 2
GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO})
ANSWER_S = 0.2  # netlink answers before `send` returns
BUFFER_BYTES = 1 << 16
MAX_LISTS = 5  # a list that changed while it was read is read again

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = struct.Struct("=i")


class Refused(Exception):
    """The kernel did not do it, or did not answer. The text says what."""


class Kernel:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.setblocking(False)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        self._sequence = 0

    def strike(self, unwanted: Sequence[bytes]) -> int:
        """Afterwards no interface has any of these addresses. How many there were; Refused when that is not so."""
        found = [message for message in self._list() if self._is_among(message, unwanted)]
        sent = {}
        for message in found:
            self._sequence += 1
            sent[self._sequence] = message
        request = b"".join(
            _HEADER.pack(len(message), RTM_DELADDR, REQUEST | ACK, sequence, 0) + message[_HEADER.size :]
            for sequence, message in sent.items()
        )
        if sent:
            self._send(request)
        faults = []
        while sent:
            for kind, _flags, sequence, message in _split(self._receive()):
                if kind != NLMSG_ERROR or sequence not in sent:
                    continue
                address = _text(sent.pop(sequence))
                code = -_ERROR.unpack_from(message, _HEADER.size)[0]
                if code and code not in GONE:
                    faults.append(f"cannot remove {address}: {os.strerror(code)}")
        if faults:
            raise Refused("; ".join(faults))
        return len(found)

    @staticmethod
    def _is_among(message: bytes, unwanted: Sequence[bytes]) -> bool:
        # Searching is cheaper than reading, and almost no address of a host is one of these.
        return any(packed in message for packed in unwanted) and local(message) in unwanted

    def _list(self) -> list[bytes]:
        for _ in range(MAX_LISTS):
            found, is_whole = self._list_once()
            if is_whole:
                break
        return found

    def _list_once(self) -> tuple[list[bytes], bool]:
        self._sequence += 1
        asked = self._sequence
        body = _ADDRESS.pack(0, 0, 0, 0, 0)
        self._send(_HEADER.pack(_HEADER.size + len(body), RTM_GETADDR, REQUEST | DUMP, asked, 0) + body)
        found: list[bytes] = []
        is_whole = True
        while True:
            for kind, flags, sequence, message in _split(self._receive()):
                if sequence != asked:
                    continue
                is_whole = is_whole and not flags & DUMP_INTERRUPTED
                if kind == RTM_NEWADDR:
                    found.append(message)
                elif kind == NLMSG_DONE:
                    return found, is_whole
                elif kind == NLMSG_ERROR:
                    code = -_ERROR.unpack_from(message, _HEADER.size)[0]
                    raise Refused(f"the kernel does not list its addresses: {os.strerror(code)}")

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise Refused(f"netlink: {error.strerror}") from error

    def _receive(self) -> bytes:
        try:
            if not self._readable.poll(1000 * ANSWER_S):
                raise Refused("the kernel does not answer")
            return self._socket.recv(BUFFER_BYTES)
        except OSError as error:
            raise Refused(f"netlink: {error.strerror}") from error


def local(message: bytes) -> bytes:
    """The address itself. (`IFA_ADDRESS` is the other end, where an interface has one.)"""
    at, address = _HEADER.size + _ADDRESS.size, b""
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        if kind == IFA_LOCAL or (kind == IFA_ADDRESS and not address):
            address = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return address


def _text(message: bytes) -> str:
    packed, prefix = local(message), message[_HEADER.size + 1]
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return f"{socket.inet_ntop(family, packed)}/{prefix}"


def _split(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and whole bytes of each message."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, at)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, datagram[at : at + length]
        at += (length + 3) & ~3
