"""The netlink socket that the key's table belongs to, and batches through it.

The kernel works on a batch inside `send`, and its answers lie in the queue when that returns: nothing is waited for,
and after each exchange the queue is empty.

Why each batch names a generation. Only one transaction runs at a time in a network namespace. If somebody else's is
under way (a firewall with 20,000 rules takes 0.4 s), ours waits inside `send`, and a time-out that was computed before
would begin to count afterwards: it would end after the lease. So the batch says which state of the rules it was meant
for; another transaction has changed that, the kernel refuses, and the caller computes again.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from haagent.gate import encoding as nft
from haagent.kernel import netlink
from haagent.kernel.netlink import HEADER
from haagent.kernel.sockets import widen

_OVERHEAD = 32  # of the buffer, with each datagram
_WHAT = {nft.NEWTABLE: "a table", nft.NEWCHAIN: "a chain", nft.NEWRULE: "a rule", nft.NEWSET: "a set"}
_FAMILY = {nft.IPV4: "ip", nft.IPV6: "ip6", nft.ARP: "arp"}


class GateError(Exception):
    """The kernel did not do it. The text says what and why."""


class Refused(GateError):
    """By the kernel, with its reason as a number."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        super().__init__(text)


class Overtaken(GateError):
    """Somebody else has changed the rules meanwhile: compute anew and send again."""


class Channel:
    def __init__(self) -> None:
        try:
            self._socket = nft.open_socket()
        except OSError as error:  # EPROTONOSUPPORT: a kernel without netfilter
            raise GateError(f"this kernel has no netfilter: {error.strerror}") from error
        self.port: int = self._socket.getsockname()[0]
        self._room = self._measure()
        self._generation = 0  # not known

    def close(self) -> None:
        """The kernel removes every table that this socket owns, before this returns."""
        self._socket.close()

    def build(self, messages: Sequence[bytes]) -> None:
        """A batch that is not in a hurry, or no message at all: when it is refused, the error names the message."""
        if not messages:
            return
        numbered = dict(enumerate(messages, 1))
        parts = [_numbered(message, number) for number, message in numbered.items()]
        parts[-1] = nft.confirmed(parts[-1])
        self._generation = 0
        self._exchange(nft.batch(b"".join(parts)), numbered)

    def commit(self, messages: bytes) -> None:
        """The last of the messages must ask for an acknowledgement (`encoding.confirmed`)."""
        generation = self._generation or self._ask_generation()
        self._generation = 0  # not known, until this has gone well
        try:
            self._exchange(nft.batch(messages, generation=generation), {})
        except Refused as refused:
            if refused.code != errno.ERESTART:
                self._generation = generation
                raise
            raise Overtaken("another program has just changed the rules") from refused
        self._generation = (generation + 1) & 0xFFFFFFFF

    def named(self, *names: str) -> list[tuple[int, str]]:
        """The tables of these names, with their families."""
        found = []
        for message in self._ask(nft.get_tables(), nft.NEWTABLE):
            texts = [netlink.read_text(value) for kind, value in nft.attributes(message) if kind == nft.NAME]
            found += [(message[HEADER.size], name) for name in texts if name in names]
        return found

    def elements(self, family: int, table: str, name: str) -> set[bytes]:
        """Those of a set whose time is not over."""
        found: set[bytes] = set()
        for message in self._ask(nft.get_elements(family, table, name), nft.NEWSETELEM):
            for kind, elements in nft.attributes(message):
                if kind == 3:
                    found.update(_read_key(value) for _, value in nft.attributes(elements, 0))
        return found

    def _ask_generation(self) -> int:
        for message in self._ask(nft.get_generation(), nft.NEWGEN):
            for kind, value in nft.attributes(message):
                if kind == 1:
                    return int.from_bytes(value, "big")
        return 0

    def _ask(self, request: bytes, wanted: int) -> list[bytes]:
        for _ in range(netlink.MAX_LISTS):
            found, is_whole = [], True
            for kind, flags, _sequence, _port, message in self._answers(request):
                if kind == netlink.ERROR and (code := netlink.read_error(message)[0]):
                    raise Refused(code, f"nf_tables tells nothing: {_reason(code)}")
                is_whole = is_whole and not flags & netlink.DUMP_INTERRUPTED
                if kind == nft.SUBSYSTEM << 8 | wanted:
                    found.append(message)
            if is_whole:
                return found
        raise GateError("other programs keep changing the firewall rules while they are listed")

    def _exchange(self, batch: bytes, known: dict[int, bytes]) -> None:
        is_confirmed = False
        fault: Refused | None = None
        for kind, _flags, sequence, _port, message in self._answers(batch):
            if kind != netlink.ERROR:
                continue
            code, said = netlink.read_error(message)
            if not code:
                is_confirmed = True
            elif fault is None:
                what = _describe(known[sequence]) if sequence in known else "a change"
                fault = Refused(code, f"the kernel refuses {what}: {said or _reason(code)}")
        if fault is not None:
            raise fault
        if not is_confirmed:
            raise GateError("the kernel did not confirm a change of the gate")

    def _answers(self, request: bytes) -> list[tuple[int, int, int, int, bytes]]:
        try:
            if len(request) > self._room:  # a batch is one datagram
                widen(self._socket, socket.SO_SNDBUF, len(request))
                self._room = self._measure()
            self._socket.send(request)
            datagrams = [*netlink.arrived(self._socket)]
        except OSError as error:
            raise GateError(f"netlink: {error.strerror}") from error
        # Of many refusals some may be lost: the first are there, and say enough.
        return [parts for datagram in datagrams if datagram is not None for parts in netlink.split(datagram)]

    def _measure(self) -> int:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - _OVERHEAD


def _numbered(message: bytes, number: int) -> bytes:
    length, kind, flags, _sequence, port = HEADER.unpack_from(message)
    return HEADER.pack(length, kind, flags, number, port) + message[HEADER.size :]


def _read_key(element: bytes) -> bytes:
    parts = dict(nft.attributes(element, 0))
    return dict(nft.attributes(parts.get(1, b""), 0)).get(1, b"")


def _describe(message: bytes) -> str:
    kind = HEADER.unpack_from(message)[1] & 0xFF
    names = {number: netlink.read_text(value) for number, value in nft.attributes(message) if number in (1, 2, 3)}
    name = f" of {names.get(2)}" if kind == nft.NEWRULE else ""
    return f"{_WHAT.get(kind, 'a change')}{name} in `{_FAMILY[message[HEADER.size]]} {names.get(1, '')}`"


def _reason(code: int) -> str:
    words = os.strerror(code)
    if code == errno.EPERM:
        words += " (CAP_NET_ADMIN is needed, or another process owns the table)"
    elif code in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
        words += " (is a module of nf_tables missing?)"
    return words
