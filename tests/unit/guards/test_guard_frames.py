"""Frames and the kernel's filter: what is asked, what passes, what is read, and that nonsense does no harm."""

from __future__ import annotations

import functools
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haagent.guards import filter as packet_filter
from haagent.guards import frames
from haagent.guards.filter import MOST, SNAP, Instruction
from haagent.guards.frames import Heard, read_arp, read_discovery
from haagent.kernel.announce import announcements
from haagent.kernel.facts import IpAddress
from tests.support.layouts import LAYOUTS
from tests.support.stranger import frame as by_stranger

MINE, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
V4, V6 = ip_address("10.20.1.100"), ip_address("fd00:20::100")
GATEWAY4, GATEWAY6 = ip_address("10.20.1.1"), ip_address("fe80::1")


@functools.cache
def question(mac: bytes, address: IpAddress) -> bytes:
    return frames.question(LAYOUTS, address, mac)


def greeting(mac: bytes, own: str, address: IpAddress, *, to: bytes | None = None) -> bytes:
    return frames.greeting(LAYOUTS, mac, own, address, to=to)


def announced(mac: bytes, address: IpAddress) -> list[bytes]:
    return announcements(LAYOUTS, address, mac, is_router=False)


def passes(program: list[Instruction], frame: bytes) -> bool:
    """What the kernel does with it: a machine with one register. A load beyond the end drops the frame."""
    at, register = 0, 0
    while True:
        code, if_true, if_false, number = program[at]
        at += 1
        match code:
            case 0x06:
                return number > 0
            case 0x15:
                at += if_true if register == number else if_false
            case _:
                size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
                if number + size > len(frame):
                    return False
                register = int.from_bytes(frame[number : number + size], "big")


ARP = packet_filter.arp([V4.packed], [GATEWAY4.packed])
DISCOVERY = packet_filter.discovery([V6.packed, GATEWAY6.packed])


class TestQuestions:
    def test_an_arp_probe_claims_nothing_and_is_marked(self) -> None:
        frame = question(THEIRS, V4)
        assert len(frame) == 60, "the shortest that Ethernet has: no driver has to pad it"
        assert frame[28:32] == bytes(4)
        assert passes(ARP, frame)
        assert read_arp(frame) == Heard(V4.packed, THEIRS, is_probe=True, is_marked=True)

    def test_a_solicitation_claims_nothing_and_is_marked(self) -> None:
        frame = question(THEIRS, V6)
        assert frame[:6] == bytes.fromhex("3333ff000100")
        assert frame[22:38] == bytes(16)
        assert passes(DISCOVERY, frame)
        assert read_discovery(frame) == Heard(V6.packed, THEIRS, is_probe=True, is_marked=True)
        assert _checksum_is_right(frame)

    def test_a_strangers_probes_are_not_marked(self) -> None:
        for address, program, read in ((V4, ARP, read_arp), (V6, DISCOVERY, read_discovery)):
            frame = by_stranger("probe", str(address), THEIRS)
            assert passes(program, frame)
            assert read(frame) == Heard(address.packed, THEIRS, is_probe=True, is_marked=False)

    def test_a_gateway_is_asked_as_a_neighbour_is(self) -> None:
        frame = greeting(MINE, "10.20.1.10", GATEWAY4, to=THEIRS)
        assert (frame[:6], frame[28:32], frame[38:42]) == (THEIRS, bytes([10, 20, 1, 10]), GATEWAY4.packed)
        assert greeting(MINE, "", GATEWAY4)[:6] == b"\xff" * 6
        with_source = greeting(MINE, "fe80::10", GATEWAY6)
        assert with_source[:6] == bytes.fromhex("3333ff000001")
        assert with_source.endswith(b"\x01\x01" + MINE), "it can answer without asking back"
        assert MINE not in greeting(MINE, "", GATEWAY6)[14:], "from `::` that option is forbidden"


class TestAnswers:
    def test_who_announces_has_it(self) -> None:
        for frame in announced(THEIRS, V4):
            assert passes(ARP, frame)
            assert read_arp(frame) == Heard(V4.packed, THEIRS, is_probe=False, is_marked=False)
        (frame,) = announced(THEIRS, V6)
        assert passes(DISCOVERY, frame)
        assert read_discovery(frame) == Heard(V6.packed, THEIRS, is_probe=False, is_marked=False)

    def test_a_reply_names_its_sender(self) -> None:
        reply = _arp(2, THEIRS, V4.packed, MINE, bytes(4))
        assert passes(ARP, reply)
        assert read_arp(reply) == Heard(V4.packed, THEIRS, is_probe=False, is_marked=False)

    def test_of_a_gateway_only_replies_pass(self) -> None:
        """It asks for every host of the link; to wake for that would cost more than it tells."""
        assert passes(ARP, _arp(2, THEIRS, GATEWAY4.packed, MINE, bytes([10, 20, 1, 10])))
        assert not passes(ARP, _arp(1, THEIRS, GATEWAY4.packed, bytes(6), bytes([10, 20, 1, 10])))

    def test_what_concerns_nobody_here_does_not_wake_us(self) -> None:
        other4, other6 = ip_address("10.20.1.77"), ip_address("fd00:20::77")
        client = bytes([10, 20, 1, 50])
        assert not passes(ARP, _arp(1, THEIRS, client, bytes(6), V4.packed)), "clients ask for it all day"
        assert not passes(ARP, announced(THEIRS, other4)[0])
        assert not passes(ARP, question(THEIRS, other4))
        assert not passes(DISCOVERY, announced(THEIRS, other6)[0])
        assert not passes(DISCOVERY, question(THEIRS, other6))
        assert not passes(DISCOVERY, greeting(THEIRS, "fe80::2", V6)), "a neighbour that resolves it"
        assert not passes(DISCOVERY, bytes(200))

    def test_ten_thousand_addresses_fit_the_kernel(self) -> None:
        many = [number.to_bytes(4, "big") for number in range(1, MOST + 2)]
        assert len(packet_filter.arp(many[:MOST], [])) <= 4096
        assert packet_filter.arp(many, []) == [(0x06, 0, 0, SNAP)]
        assert passes(packet_filter.discovery([b"\0" * 12 + one for one in many]), question(THEIRS, V6))

    def test_an_answer_from_beyond_a_router_is_forged(self) -> None:
        frame = bytearray(announced(THEIRS, V6)[0])
        frame[21] = 64  # hop limit
        assert read_discovery(bytes(frame)) is None

    @given(st.binary(max_size=140))
    def test_nonsense_is_read_as_nothing_or_as_something(self, frame: bytes) -> None:
        for read in (read_arp, read_discovery):
            assert isinstance(read(frame), Heard | None)

    @given(st.integers(0, 127), st.integers(0, 255))
    def test_a_damaged_frame_raises_nothing(self, at: int, value: int) -> None:
        for whole in (question(THEIRS, V4), question(THEIRS, V6)):
            damaged = bytearray(whole)
            damaged[at % len(damaged)] = value
            for cut in (bytes(damaged), bytes(damaged[:at])):
                read_arp(cut)
                read_discovery(cut)


@pytest.mark.parametrize("address", [V4, V6])
def test_our_own_frames_are_read_back_as_ours(address: IpAddress) -> None:
    """The mark survives what a switch may do: cut the padding down, or add to it."""
    frame = question(MINE, address)
    read = read_arp if frame[12:14] == b"\x08\x06" else read_discovery
    assert read(frame + bytes(20)) == read(frame)


def _arp(operation: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    body = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, mac, sender, target_mac, target)
    return (b"\xff" * 6 + mac + b"\x08\x06" + body).ljust(60, b"\0")


def _checksum_is_right(frame: bytes) -> bool:
    message = frame[54:]
    pseudo = frame[22:54] + struct.pack(">II", len(message), 58) + message
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
