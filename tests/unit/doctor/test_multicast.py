"""Whether anybody asks who listens to multicast: what is a query, and what is said where none is heard."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, ip_address

import msgspec
import pytest

from haagent.doctor import multicast
from haagent.doctor.context import Subject
from haagent.doctor.finding import Severity
from haagent.kernel.facts import IpAddress
from tests.support.bare_host import looked, only, put

BRIDGE = "/sys/class/net/br0/bridge/multicast"


def v4(protocol: int, message: bytes, *, options: bytes = b"\x94\x04\x00\x00") -> bytes:
    header = bytes([0x40 | (5 + len(options) // 4)]) + bytes(8) + bytes([protocol]) + bytes(2)
    return header + ip_address("10.20.1.1").packed + bytes(4) + options + message


def v6(*, before: int = 0, after: int = 58, message: bytes) -> bytes:
    header = struct.pack(">IHBB", 6 << 28, 8 + len(message), before, 1) + ip_address("fe80::1").packed + bytes(16)
    return header + bytes([after, 0, 5, 2, 0, 0, 1, 0]) + message


@pytest.mark.parametrize(
    ("packet", "asks"),
    [
        (v4(2, b"\x11\x64"), "10.20.1.1"),
        (v4(2, b"\x11", options=b""), "10.20.1.1"),
        (v4(2, b"\x16\x00"), None),  # a report
        (v4(17, b"\x11\x64"), None),
        (v4(2, b""), None),
        (v6(message=b"\x82\x00"), "fe80::1"),
        (v6(message=b"\x8f\x00"), None),  # a report
        (v6(message=b""), None),
        (v6(before=58, message=b"\x82\x00"), None),
        (v6(message=b"\x82")[:30], None),
        (b"", None),
    ],
)
def test_only_a_query_is_one(packet: bytes, asks: str | None) -> None:
    assert multicast.asker(packet) == (None if asks is None else ip_address(asks))


def heard(monkeypatch: pytest.MonkeyPatch, querier: IpAddress | None) -> None:
    async def found(interface: str, family: int) -> IpAddress | None:
        return querier

    monkeypatch.setattr(multicast, "_querier", found)


def use(subject: Subject, transport: str) -> None:
    assert subject.config is not None
    heartbeat = msgspec.structs.replace(subject.config.heartbeat, transport=transport)
    subject.config = msgspec.structs.replace(subject.config, heartbeat=heartbeat)


def test_a_querier(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(monkeypatch, IPv4Address("10.20.1.1"))
    finding = only(multicast.multicast, subject)
    assert (finding.severity, "10.20.1.1" in finding.what) == (Severity.OK, True)


def test_silence_is_told_with_what_to_do(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(monkeypatch, None)
    finding = only(multicast.multicast, subject)
    assert finding.severity is Severity.INFO
    assert "type bridge mcast_querier 1" in finding.mend
    assert "transport: both" in finding.mend


def test_silence_harms_nobody_who_uses_unicast_as_well(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    heard(monkeypatch, None)
    use(subject, "both")
    assert only(multicast.multicast, subject).severity is Severity.OK
    use(subject, "unicast")
    assert looked(multicast.multicast, subject) == []


@pytest.mark.parametrize(("snooping", "querier", "is_named"), [("1", "0", True), ("0", "0", False), ("1", "1", False)])
def test_a_bridge_of_this_host_that_snoops(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, snooping: str, querier: str, *, is_named: bool
) -> None:
    heard(monkeypatch, None)
    put(subject, f"{BRIDGE}_snooping", f"{snooping}\n")
    put(subject, f"{BRIDGE}_querier", f"{querier}\n")
    port = subject.root / "sys/class/net/eth0/brport/bridge"
    port.parent.mkdir(parents=True)
    port.symlink_to("../../../br0")
    finding = only(multicast.multicast, subject)
    assert ("br0 of this host snoops" in finding.what) is is_named
    assert ("set br0 type" in finding.mend) is is_named
