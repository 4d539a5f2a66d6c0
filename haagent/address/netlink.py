"""Asking the kernel: add, renew, remove and list addresses over one netlink socket that stays open.

The acknowledgement is in the receive queue before `sendmsg` returns, so a request is synchronous and needs no
loop. Messages to add are composed ahead of need (`prepare`); `haagent.address.encoding` says how and why.

A VIP may be the first address of its subnet on an interface ("primary"); when the kernel removes a primary it
takes the others of the subnet along, the host's own included, unless `promote_secondaries` is set. We set it on
every interface that carries our IPv4 addresses, and leave it set.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Sequence

from haagent.address import encoding
from haagent.address.encoding import Prepared
from haagent.address.facts import AddressError, Link, Seen, Vip
from haagent.address.links import Links

SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO})
ANSWER_S = 1.0  # an acknowledgement is there at once; a kernel that needs longer than this is not answering
MAX_DATAGRAM = 1 << 16


class Kernel:
    def __init__(self) -> None:
        self.links = Links()
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._prepared: dict[Vip, Prepared] = {}
        self._own: set[tuple[int, int, int]] = set()  # subnets of the host's own IPv6 addresses
        self.port = 0

    def open(self) -> None:
        if self._socket is not None:
            return
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        opened.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        opened.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        opened.bind((0, 0))
        opened.setblocking(False)
        self._socket = opened
        self.port = opened.getsockname()[0]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def prepare(self, vip: Vip, composed: Sequence[bytes]) -> None:
        """What `add` and `remove` will send: `composed` is what `encoding.wanted` asks for."""
        self._prepared[vip] = Prepared(vip, composed)

    def add(self, vips: Sequence[Vip], lifetime_s: int) -> None:
        """Add, or renew: the kernel lets them go `lifetime_s` seconds from now. All are tried, then faults raised."""
        try:
            self._add(vips, lifetime_s, self._indexes(vips, is_fresh=False))
        except _NoSuchLink:
            # The interface was made anew and the monitor has not told yet: ask for its number and try once more.
            try:
                self._add(vips, lifetime_s, self._indexes(vips, is_fresh=True))
            except _NoSuchLink as gone:
                raise AddressError(f"{gone.name} does not exist") from None

    def remove(self, vips: Sequence[Vip]) -> None:
        """Afterwards no interface of this host has any of them, whoever added it and with whatever prefix."""
        messages = []
        for vip in vips:
            link = self.links.get(vip.interface)
            if link is not None:
                self._sequence += 1
                messages.append(self._prepared[vip].remove(index=link.index, sequence=self._sequence))
        if messages:
            self._exchange(messages)  # a refusal is judged below, by what is left
        unwanted = [vip.packed for vip in vips]
        for message in self._list_addresses():
            # Reading a message takes longer than searching it, and what is searched for is normally not there.
            if any(packed in message for packed in unwanted):
                seen = encoding.read_address(message)
                if seen.packed in unwanted:
                    self.strike(seen)

    def strike(self, seen: Seen) -> None:
        """Remove exactly this address. Already gone is fine."""
        self._sequence += 1
        for code, text in self._exchange([encoding.removing(seen, self._sequence)]).values():
            if code and code not in GONE:
                where = self.links.name_of(seen.index)
                raise AddressError(f"cannot remove {seen} from {where}: {_reason(code, text)}")

    def seen(self) -> list[Seen]:
        """Every IPv4 and IPv6 address of this host, on all interfaces."""
        found = [encoding.read_address(message) for message in self._list_addresses()]
        self._own = {encoding.subnet(seen.index, seen.packed, seen.prefix) for seen in found if _is_own_v6(seen)}
        return found

    def _list_addresses(self) -> list[bytes]:
        self._sequence += 1
        replies = self._dump(encoding.dump_addresses(self._sequence), encoding.RTM_NEWADDR)
        families = (encoding.AF_INET, encoding.AF_INET6)
        return [reply for reply in replies if reply[encoding.HEADER.size] in families]

    def load_links(self) -> None:
        self._sequence += 1
        replies = self._dump(encoding.dump_links(self._sequence), encoding.RTM_NEWLINK)
        self.links.replace(encoding.read_link(reply) for reply in replies)

    def promote_secondaries(self, link: Link) -> None:
        self._sequence += 1
        for code, text in self._exchange([encoding.promoting(link.index, self._sequence)]).values():
            if code and code not in GONE:
                raise AddressError(f"cannot set promote_secondaries on {link.name}: {_reason(code, text)}")

    def _indexes(self, vips: Sequence[Vip], *, is_fresh: bool) -> list[int]:
        indexes = []
        for vip in vips:
            link = None if is_fresh else self.links.get(vip.interface)
            try:
                indexes.append(link.index if link else socket.if_nametoindex(vip.interface))
            except OSError:
                raise AddressError(f"{vip.interface} does not exist") from None
        return indexes

    def _add(self, vips: Sequence[Vip], lifetime_s: int, indexes: list[int]) -> None:
        asked: dict[int, Vip] = {}
        messages = []
        for vip, index in zip(vips, indexes, strict=True):
            self._sequence += 1
            asked[self._sequence] = vip
            prepared, sequence = self._prepared[vip], self._sequence
            messages.append(prepared.add(index=index, sequence=sequence, lifetime_s=lifetime_s, own=self._own))
        faults = []
        for sequence, (code, text) in self._exchange(messages).items():
            if code == errno.ENODEV:
                raise _NoSuchLink(asked[sequence].interface)
            if code:
                faults.append(f"cannot add {asked[sequence]}: {_reason(code, text)}")
        if faults:
            raise AddressError("; ".join(faults))

    def _exchange(self, messages: Sequence[bytes]) -> dict[int, tuple[int, str]]:
        """Send together; per sequence number the kernel's errno and text."""
        if not messages:
            return {}
        waiting = {encoding.HEADER.unpack_from(message)[3] for message in messages}
        answers: dict[int, tuple[int, str]] = {}
        self._send(b"".join(messages))
        while waiting:
            for kind, sequence, _port, message in encoding.split(self._receive()):
                if kind == encoding.NLMSG_ERROR and sequence in waiting:
                    waiting.discard(sequence)
                    answers[sequence] = encoding.read_error(message)
        return answers

    def _dump(self, request: bytes, wanted: int) -> list[bytes]:
        asked = encoding.HEADER.unpack_from(request)[3]
        self._send(request)
        found: list[bytes] = []
        while True:
            for kind, sequence, _port, message in encoding.split(self._receive()):
                if sequence != asked:
                    continue
                if kind == wanted:
                    found.append(message)
                elif kind == encoding.NLMSG_DONE:
                    return found
                elif kind == encoding.NLMSG_ERROR:
                    raise AddressError(f"the kernel lists nothing: {_reason(*encoding.read_error(message))}")

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            raise AddressError("the netlink socket is not open")
        try:
            self._socket.send(data)
        except OSError as error:
            raise AddressError(f"netlink: {error.strerror}") from error

    def _receive(self) -> bytes:
        assert self._socket is not None
        try:
            return self._socket.recv(MAX_DATAGRAM)
        except BlockingIOError:
            if select.select([self._socket], [], [], ANSWER_S)[0]:
                return self._receive()
            raise AddressError(f"the kernel did not answer within {ANSWER_S:g} s") from None
        except OSError as error:
            raise AddressError(f"netlink: {error.strerror}") from error


class _NoSuchLink(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def _is_own_v6(seen: Seen) -> bool:
    return len(seen.packed) == 16 and seen.prefix < 128 and not seen.is_ours


def _reason(code: int, text: str) -> str:
    words = os.strerror(code)
    if code == errno.EPERM:
        words += " (CAP_NET_ADMIN is needed: run as root)"
    elif code == errno.EACCES:
        words += " (is IPv6 switched off there? see net.ipv6.conf.*.disable_ipv6)"
    return f"{text} ({words})" if text else words
