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

import msgspec

from haagent.lab.echo import REPLY4, REPLY6, Echo, frame_header, is_ipv6
from haagent.lab.outage import UNANSWERED, Trace

_SO_TIMESTAMPNS = 35
_SOL_RAW = 255  # with ICMP_FILTER = 1; the socket module names neither
_IDENTIFIER = 0x4841  # of probes that follow the client's own routing; node number k is asked with _IDENTIFIER + k + 1
_RING = 1 << 16  # sequence numbers wrap after 65 s; an answer is never that late


class Target(msgspec.Struct, frozen=True):
    """A node that may answer."""

    name: str
    mac: str
    ttl: int


class Specification(msgspec.Struct, frozen=True):
    addresses: tuple[str, ...]
    interval_s: float = 0.001
    interface: str = "eth0"
    mac: str = ""  # of the interface
    sources: tuple[str, ...] = ()  # of direct probes, one per probed address
    targets: tuple[Target, ...] = ()  # who is known by which TTL
    asks_directly: bool = True


class Last(msgspec.Struct, frozen=True):
    address: str
    at_s: float  # CLOCK_MONOTONIC; 0: never
    by: str


class Record(msgspec.Struct, frozen=True):
    traces: list[Trace]
    send_errors: int  # the kernel refused to send: no route, no answer to ARP
    is_real_time: bool


class Line:
    """One probed address: its socket and its record."""

    def __init__(self, address: str, *, interval_s: float) -> None:
        self.address = address
        self.interval_s = interval_s
        self._is_ipv6 = is_ipv6(address)
        self._echo = Echo(address=address, identifier=_IDENTIFIER)
        self.sent, self.replied, self.ttl = array("q"), array("q"), array("B")
        self.direct = array("H")  # bit k: node k answered
        self.direct_replied: list[array[int]] = []  # per node
        self._direct: list[tuple[bytes, Echo]] = []
        self.latest = (0.0, 0)
        self.socket = self._open()

    def _open(self) -> socket.socket:
        if self._is_ipv6:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
            # ICMP6_FILTER, a set bit blocks: let only echo replies through
            words = [0xFFFFFFFF] * 8
            words[REPLY6 >> 5] &= ~(1 << (REPLY6 & 31))
            opened.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("8I", *words))
        else:
            opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            opened.setsockopt(_SOL_RAW, 1, struct.pack("I", ~(1 << REPLY4) & 0xFFFFFFFF))  # ICMP_FILTER
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        opened.setblocking(False)
        return opened

    def ask_directly(self, target: Target, *, source: str, source_mac: str) -> None:
        number = len(self._direct)
        self.direct_replied.append(array("q"))
        header = frame_header(address=self.address, source=source, mac=target.mac, source_mac=source_mac)
        echo = Echo(address=self.address, identifier=_IDENTIFIER + number + 1, source=source)
        self._direct.append((header, echo))

    def ask(self, wire: socket.socket | None, at_us: int) -> int:
        """Send this tick's probes; returns how many the kernel refused."""
        sequence = len(self.sent) % _RING
        self.sent.append(at_us)
        self.replied.append(UNANSWERED)
        self.ttl.append(0)
        self.direct.append(0)
        for replied in self.direct_replied:
            replied.append(UNANSWERED)
        refused = 0
        try:
            self.socket.sendto(self._echo.message(sequence), (self.address, 0))
        except OSError:
            refused += 1
        for header, echo in self._direct if wire is not None else ():
            try:
                wire.send(header + echo.message(sequence))  # type: ignore[union-attr]
            except OSError:
                refused += 1
        return refused

    def drain(self, start_s: float) -> None:
        ahead_ns = time.time_ns() - time.monotonic_ns()  # the kernel stamps in wall-clock time
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(256, 128)
            except BlockingIOError:
                return
            self._note(data, ancillary, ahead_ns=ahead_ns, start_s=start_s)

    def _note(self, data: bytes, ancillary: list[tuple[int, int, bytes]], *, ahead_ns: int, start_s: float) -> None:
        at_s, ttl = time.monotonic(), 0
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", value[:16])
                at_s = (seconds * 1_000_000_000 + nanoseconds - ahead_ns) / 1e9
            elif level == socket.IPPROTO_IPV6:
                ttl = struct.unpack("i", value[:4])[0]
        if not self._is_ipv6:
            ttl, data = data[8], data[(data[0] & 15) * 4 :]
        if len(data) < 8:
            return
        identifier, sequence = struct.unpack("!HH", data[4:8])
        newest = len(self.sent) - 1
        tick = newest - (newest - sequence) % _RING
        number = identifier - _IDENTIFIER
        if tick < 0 or not 0 <= number <= len(self._direct):
            return
        if number:
            self.direct[tick] |= 1 << (number - 1)
            replied = self.direct_replied[number - 1]
            if replied[tick] == UNANSWERED:
                replied[tick] = int((at_s - start_s) * 1e6)
        elif self.replied[tick] == UNANSWERED:
            self.replied[tick], self.ttl[tick] = int((at_s - start_s) * 1e6), ttl
            self.latest = (at_s, ttl)

    def trace(self, start_s: float, targets: tuple[Target, ...]) -> Trace:
        names = {target.ttl: target.name for target in targets}
        sets = [
            [target.name for bit, target in enumerate(targets) if mask >> bit & 1] for mask in range(1 << len(targets))
        ]
        return Trace(
            address=self.address,
            interval_s=self.interval_s,
            start_s=start_s,
            sent=self.sent.tolist(),
            replied=self.replied.tolist(),
            answered_by=[names.get(ttl, f"ttl {ttl}") if ttl else "" for ttl in self.ttl],
            direct=[sets[mask] for mask in self.direct],
            direct_replied={
                target.name: replied.tolist() for target, replied in zip(targets, self.direct_replied, strict=False)
            },
        )


class Prober:
    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        self._lines = [Line(address, interval_s=specification.interval_s) for address in specification.addresses]
        self._wire: socket.socket | None = None
        if specification.asks_directly:
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: it only sends
            self._wire.bind((specification.interface, 0))
            for line, source in zip(self._lines, specification.sources, strict=True):
                for target in specification.targets:
                    line.ask_directly(target, source=source, source_mac=specification.mac)
        self._send_errors = 0

    def run(self) -> Record:
        is_real_time = _become_real_time()
        gc.collect()
        gc.freeze()
        gc.disable()  # nothing here makes cycles
        start_s = time.monotonic()
        due, interval_s = start_s, self._specification.interval_s
        sockets: dict[int, Line] = {line.socket.fileno(): line for line in self._lines}
        _say(b"ready")
        while True:
            now = time.monotonic()
            if now >= due:
                for line in self._lines:
                    self._send_errors += line.ask(self._wire, int((time.monotonic() - start_s) * 1e6))
                due += interval_s * (int((now - due) / interval_s) + 1)  # drift-free; missed ticks are not made up
            wait_s = max(0.0, due - time.monotonic())
            readable, _, _ = select.select([0, *sockets], [], [], wait_s)
            for descriptor in readable:
                if descriptor:
                    sockets[descriptor].drain(start_s)
                elif not self._obey():
                    return self._record(start_s, is_real_time=is_real_time)

    def _obey(self) -> bool:
        words = os.read(0, 4096).split()
        if not words or b"stop" in words:
            return False
        names = {target.ttl: target.name for target in self._specification.targets}
        last = [
            Last(line.address, line.latest[0], names.get(line.latest[1], f"ttl {line.latest[1]}"))
            for line in self._lines
        ]
        _say(msgspec.json.encode(last))
        return True

    def _record(self, start_s: float, *, is_real_time: bool) -> Record:
        targets = self._specification.targets
        return Record(
            traces=[line.trace(start_s, targets) for line in self._lines],
            send_errors=self._send_errors,
            is_real_time=is_real_time,
        )


def _become_real_time() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    except PermissionError:
        return False
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
