"""The prober: a process on the client host that asks for the floating addresses every millisecond.

    python -m haagent.lab.probe SPECIFICATION        (JSON, see `Specification`)

It is a process of its own, in real time where permitted, so that what it measures is the cluster and not itself; how
late it was is part of the record. Probes go through the kernel's routing and neighbour table like any client's: a
stale ARP entry here is an outage, as it would be for a user. Only the direct probes (who *else* would answer) bypass
the table, and they never touch it: they are frames of our own, from an address of their own.

Answers are stamped by the kernel on arrival, so a late reader does not lengthen a gap.
Spoken on stdin, one word a line: `last` prints who answered each address last and when; `stop`, or the end of input
(our parent died), prints the whole record and ends.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import struct
import sys
import time
from array import array
from contextlib import suppress
from ipaddress import ip_address

import msgspec

from haagent.kernel import echo
from haagent.lab.answers import UNANSWERED, Trace
from haagent.lab.echo import PAYLOAD, headers
from haagent.lab.plan import OBSERVER4, OBSERVER6, Host, Plan

_SO_TIMESTAMPNS = 35
_IDENTIFIER = 0x4841  # of probes that follow the client's own routing; node number k is asked with _IDENTIFIER + k + 1
_RING = 1 << 16  # sequence numbers wrap after 65 s; an answer is never that late


class Specification(msgspec.Struct, frozen=True):
    plan: Plan  # which addresses to ask for, and who is known by which TTL
    interval_s: float
    asks_directly: bool


class Last(msgspec.Struct, frozen=True):
    address: str
    at_s: float  # CLOCK_MONOTONIC; 0: never
    by: str


class Line:
    """One probed address: its socket and its record."""

    def __init__(self, address: str, specification: Specification) -> None:
        self.address = str(ip_address(address))  # as the kernel writes it
        self._specification = specification
        self._version = ip_address(address).version
        self.sent, self.replied, self.ttl = array("q"), array("q"), array("B")
        asked = specification.plan.servers if specification.asks_directly else ()
        self._direct = [self._before(node) for node in asked]
        self.direct_replied = [array("q") for _ in self._direct]  # per node
        self.latest = (0.0, 0)
        self.socket = self._open()

    def _open(self) -> socket.socket:
        opened = echo.open_socket(self._version)
        if self._version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return opened

    def _before(self, node: Host) -> tuple[bytes, bytes]:
        """The headers of what asks this very node."""
        source = OBSERVER6 if self._version == 6 else OBSERVER4
        macs = {"mac": node.ports[0].mac, "source_mac": self._specification.plan.client.ports[0].mac}
        return headers(address=self.address, source=source, **macs)

    def ask(self, wire: socket.socket, at_us: int) -> None:
        """Send this tick's probes. What the kernel refuses (no route, no answer to ARP) stays unanswered."""
        sequence = len(self.sent) % _RING
        self.sent.append(at_us)
        self.ttl.append(0)
        for replied in (self.replied, *self.direct_replied):
            replied.append(UNANSWERED)
        with suppress(OSError):
            request = echo.request(self._version, _IDENTIFIER, sequence, payload=PAYLOAD)
            self.socket.sendto(request, (self.address, 0))
        for identifier, (before, pseudo) in enumerate(self._direct, _IDENTIFIER + 1):
            request = echo.request(self._version, identifier, sequence, payload=PAYLOAD, pseudo=pseudo)
            with suppress(OSError):
                wire.send(before + request)

    def drain(self, start_s: float) -> None:
        ahead_ns = time.time_ns() - time.monotonic_ns()  # the kernel stamps in wall-clock time
        while True:
            try:
                data, ancillary, _, sender = self.socket.recvmsg(256, 128)
            except BlockingIOError:
                return
            if sender[0] != self.address:
                continue  # each socket gets the answers to all of them
            self._note(data, ancillary, ahead_ns=ahead_ns, start_s=start_s)

    def _note(self, data: bytes, ancillary: list[tuple[int, int, bytes]], *, ahead_ns: int, start_s: float) -> None:
        at_s, ttl = time.monotonic(), 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                at_s = (seconds * 1_000_000_000 + nanoseconds - ahead_ns) / 1e9
            elif level == socket.IPPROTO_IPV6:
                ttl = struct.unpack("i", value[:4])[0]
        if self._version == 4:
            ttl = data[8]
        data = echo.message_in(self._version, data)
        if len(data) < 8:
            return
        identifier, sequence = struct.unpack("!HH", data[4:8])
        newest = len(self.sent) - 1
        tick = newest - (newest - sequence) % _RING
        number = identifier - _IDENTIFIER
        if tick < 0 or not 0 <= number <= len(self._direct):
            return
        if number:
            replied = self.direct_replied[number - 1]
            if replied[tick] == UNANSWERED:
                replied[tick] = int((at_s - start_s) * 1e6)
        elif self.replied[tick] == UNANSWERED:
            self.replied[tick], self.ttl[tick] = int((at_s - start_s) * 1e6), ttl
            self.latest = (at_s, ttl)

    def last(self) -> Last:
        at_s, ttl = self.latest
        return Last(self.address, at_s, self._specification.plan.name_of_ttl(ttl))

    def trace(self, start_s: float) -> Trace:
        plan = self._specification.plan
        return Trace(
            address=self.address,
            interval_s=self._specification.interval_s,
            start_s=start_s,
            sent=self.sent.tolist(),
            replied=self.replied.tolist(),
            answered_by=[plan.name_of_ttl(ttl) if ttl else "" for ttl in self.ttl],
            direct_replied={
                host.name: replied.tolist() for host, replied in zip(plan.servers, self.direct_replied, strict=False)
            },
        )


class Prober:
    def __init__(self, specification: Specification) -> None:
        self._interval_s = specification.interval_s
        self._lines = [Line(address, specification) for address in specification.plan.vips]
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: it only sends
        self._wire.bind((specification.plan.client.ports[0].link, 0))

    def run(self) -> list[Trace]:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing here makes cycles
        start_s = time.monotonic()
        due, interval_s = start_s, self._interval_s
        sockets: dict[int, Line] = {line.socket.fileno(): line for line in self._lines}
        _say(b"ready")
        while True:
            now = time.monotonic()
            if now >= due:
                for line in self._lines:
                    line.ask(self._wire, int((time.monotonic() - start_s) * 1e6))
                due += interval_s * (int((now - due) / interval_s) + 1)  # drift-free; missed ticks are not made up
            wait_s = max(0.0, due - time.monotonic())
            readable, _, _ = select.select([0, *sockets], [], [], wait_s)
            for descriptor in readable:
                if descriptor:
                    sockets[descriptor].drain(start_s)
                elif not self._obey():
                    return [line.trace(start_s) for line in self._lines]

    def _obey(self) -> bool:
        words = os.read(0, 4096).split()
        if not words or b"stop" in words:
            return False
        _say(msgspec.json.encode([line.last() for line in self._lines]))
        return True


def _say(text: bytes) -> None:
    left = text + b"\n"
    while left:
        left = left[os.write(1, left) :]


def main() -> None:
    specification = msgspec.json.decode(sys.argv[1], type=Specification)
    _say(msgspec.json.encode(Prober(specification).run()))


if __name__ == "__main__":
    main()
