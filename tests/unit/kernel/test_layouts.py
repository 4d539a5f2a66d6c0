"""What is written into a layout is what scapy and pyroute2 would have written; and the process that they are in."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from haagent.guards.frames import greeting, question
from haagent.kernel import encoding
from haagent.kernel.announce import announcements
from haagent.kernel.encoding import Prepared
from haagent.kernel.facts import TAG, Vip
from haagent.kernel.layouts import CannotCompose, composing
from tests.support.layouts import LAYOUTS

macs = st.one_of(st.binary(min_size=6, max_size=6), st.sampled_from([bytes(6), b"\xff" * 6, b"\0\xff" * 3]))


def written_anew(frame: bytes, change: Callable[[Ether], None] = lambda _: None) -> bytes:
    """By scapy, which counts every checksum again."""
    packet = Ether(frame)
    change(packet)
    for layer in (ICMPv6ND_NA, ICMPv6ND_NS):
        if layer in packet:
            del packet[layer].cksum
    return bytes(packet)


class TestFrames:
    @given(macs, st.ip_addresses(v=6), st.booleans())
    def test_an_advertisement(self, mac: bytes, address: IPv6Address, is_router: bool) -> None:
        (frame,) = announcements(LAYOUTS, address, mac, is_router=is_router)
        packet = Ether(frame)
        assert packet.src == packet[ICMPv6ND_NA].payload.lladdr == mac.hex(":")
        assert IPv6Address(packet[IPv6].src) == IPv6Address(packet[ICMPv6ND_NA].tgt) == address
        assert int(is_router) == packet[ICMPv6ND_NA].R
        assert frame == written_anew(frame), "the checksum"

    @given(macs, st.ip_addresses(v=4))
    def test_both_forms_of_arp(self, mac: bytes, address: IPv4Address) -> None:
        frames = announcements(LAYOUTS, address, mac, is_router=False)
        for frame, operation, target in zip(frames, (1, 2), (bytes(6), mac), strict=True):
            packet = Ether(frame)
            assert packet.src == packet[ARP].hwsrc == mac.hex(":")
            assert (packet[ARP].op, packet[ARP].hwdst) == (operation, target.hex(":"))
            assert packet[ARP].psrc == packet[ARP].pdst == str(address)

    @given(macs, st.ip_addresses(v=4), st.ip_addresses(v=6))
    def test_the_question_before_taking(self, mac: bytes, four: IPv4Address, six: IPv6Address) -> None:
        packet = Ether(question(LAYOUTS, four, mac))
        assert (packet.src, packet[ARP].hwsrc) == (mac.hex(":"), mac.hex(":"))
        assert (packet[ARP].psrc, packet[ARP].pdst) == ("0.0.0.0", str(four))
        frame = question(LAYOUTS, six, mac)
        packet = Ether(frame)
        assert (packet[IPv6].src, IPv6Address(packet[ICMPv6ND_NS].tgt)) == ("::", six)
        assert frame == written_anew(frame), "the checksum"

    @given(macs, st.one_of(st.none(), macs), st.ip_addresses(v=6), st.ip_addresses(v=6))
    def test_the_greeting_of_a_gateway(
        self, mac: bytes, to: bytes | None, own: IPv6Address, gateway: IPv6Address
    ) -> None:
        for sender in (str(own), ""):
            frame = greeting(LAYOUTS, mac, sender, gateway, to=to)
            packet = Ether(frame)
            assert IPv6Address(packet[IPv6].src) == IPv6Address(sender or "::")
            assert IPv6Address(packet[ICMPv6ND_NS].tgt) == gateway
            assert packet.src == mac.hex(":")
            assert frame == written_anew(frame), "the checksum"

    def test_a_greeting_by_arp(self) -> None:
        mac, to = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 9])
        packet = Ether(greeting(LAYOUTS, mac, "10.20.1.10", ip_address("10.20.1.1"), to=to))
        assert (packet.dst, packet[ARP].psrc, packet[ARP].pdst) == (to.hex(":"), "10.20.1.10", "10.20.1.1")


class TestMessages:
    @given(
        st.sampled_from(["10.20.1.100/24", "10.20.1.100/32", "fd00:20::100/64"]),
        st.sampled_from(["eth0", "a-longer-name"]),
        st.integers(1, 2**31 - 1),
        st.integers(1, 2**32 - 1),
        st.booleans(),
    )
    def test_an_address(self, text: str, interface: str, index: int, lifetime_s: int, is_shared: bool) -> None:
        vip = Vip(ip_interface(text), interface)
        prepared = Prepared(vip, LAYOUTS)
        own = {encoding.subnet(index, vip.packed, vip.prefix)} if is_shared else set()
        adding = read(prepared.add(index=index, lifetime_s=lifetime_s, own=own))
        removing = read(prepared.remove(index=index))
        for message in (adding, removing):
            assert (message["index"], message["prefixlen"]) == (index, vip.prefix)
            assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == str(vip.address.ip)
        assert adding.get_attr("IFA_PROTO") == TAG  # a pyroute2 that does not know it leaves it out, and says nothing
        lifetimes = adding.get_attr("IFA_CACHEINFO")
        is_v6 = vip.address.version == 6
        assert lifetimes["ifa_valid"] == lifetime_s
        assert lifetimes["ifa_preferred"] == (0 if is_v6 else lifetime_s)
        flags = adding.get_attr("IFA_FLAGS") or 0
        assert bool(flags & encoding.IFA_F_NOPREFIXROUTE) == (is_v6 and is_shared)
        assert bool(flags & encoding.IFA_F_NODAD) == is_v6
        assert (adding["header"]["type"], removing["header"]["type"]) == (20, 21)
        label = None if is_v6 else interface + (":ha" if interface == "eth0" else "")
        assert (adding.get_attr("IFA_LABEL") or "").rstrip("\0") == (label or "")


def read(message: bytes) -> ifaddrmsg:
    found = ifaddrmsg(message)
    found.decode()
    return found


class TestProcess:
    def test_it_composes_what_this_process_would(self) -> None:
        with composing() as layouts:
            assert layouts() == LAYOUTS

    def test_without_a_python_it_cannot_begin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nonexistent")
        with pytest.raises(CannotCompose, match=r"No such file.*install what is missing"), composing():
            pass

    def test_a_library_that_is_missing_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stand_in(tmp_path, monkeypatch, "raise ImportError('scapy is not for you')")
        with composing() as layouts, pytest.raises(CannotCompose, match="scapy is not for you"):
            layouts()

    def test_one_that_ends_without_a_word_is_told_by_its_status(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.stand_in(tmp_path, monkeypatch, "import os; os._exit(7)")
        with composing() as layouts, pytest.raises(CannotCompose, match="it ended with status 7"):
            layouts()

    def test_one_that_hangs_is_not_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
        monkeypatch.setattr("haagent.kernel.layouts.COMPOSE_S", 0.2)
        with composing() as layouts, pytest.raises(CannotCompose, match="overloaded"):
            layouts()

    def test_where_nobody_waits_for_it_nobody_has_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stand_in(tmp_path, monkeypatch, "import time; time.sleep(600)")
        with pytest.raises(ZeroDivisionError), composing():
            raise ZeroDivisionError

    @staticmethod
    def stand_in(place: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
        """For scapy."""
        (place / "scapy.py").write_text(program)
        monkeypatch.syspath_prepend(place)


AGENT = """
import asyncio, json, sys
from haagent.agent import daemon
from haagent.agent.assembly import Start
from haagent.agent.strays import Strays
from haagent.kernel.layouts import composing
from haagent.config import parse
from haagent.guardian.channel import GuardianChannel

async def main(layouts):
    config = parse(sys.stdin.buffer.read(), "", node="A")
    none = Start(
        config=config, keys=(), run_dir="/none", state_dir="/none", guardian=GuardianChannel(), layouts=layouts
    )
    agent = daemon.Daemon(none, Strays())
    for group in agent._agent._activation._groups.values():
        await group.open()
        agent._agent._activation._host.watch(group.reconciler.vips)

with composing() as layouts:
    asyncio.run(main(layouts()))
print(json.dumps(sorted(sys.modules)))
"""
CONFIGURATION = """
cluster: shop
nodes: {A: {address: 10.20.1.11}, B: {address: 10.20.1.12}}
heartbeat: {transport: multicast, group: 239.1.2.3, interfaces: [eth0], insecure: true}
on_partition: available
groups:
  web: {addresses: [10.20.1.100/24, "fd00:20::100/64"], interface: eth0, backend: arp}
"""


def test_an_agent_with_all_its_frames_has_neither_library() -> None:
    words = [sys.executable, "-c", AGENT]
    run = subprocess.run(words, input=CONFIGURATION, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & {"scapy", "pyroute2"}


PACKAGE = Path(encoding.__file__).parents[1]
BORDER = "kernel/compose.py"


def naming(*libraries: str) -> set[str]:
    """The modules of the package that import one of them."""
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(each.name for each in node.names)]
        if name.split(".")[0] in libraries
    }


def test_who_names_the_libraries() -> None:
    assert naming("pyroute2") == {BORDER, "config/starter.py"}


def test_the_licence_of_scapy_is_that_of_the_one_module_that_imports_it() -> None:
    """And nothing imports that one: it is a program, and what it says comes over a pipe."""
    assert naming("scapy") == {BORDER}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        is_border = path == PACKAGE / BORDER
        assert text.startswith("# SPDX-License-Identifier: GPL-2.0-only\n") == is_border
        assert is_border or "SPDX-License-Identifier" not in text
        modules = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [f"{getattr(node, 'module', '')}.{each.name}" for node in modules for each in node.names]
        assert not any("address.compose" in name for name in names), path


@pytest.mark.parametrize("licence", ["Apache-2.0", "GPL-2.0-only"])
def test_both_licences_are_there(licence: str) -> None:
    root = PACKAGE.parent
    assert len((root / "LICENSES" / f"{licence}.txt").read_text()) > 10_000
    assert licence in (root / "pyproject.toml").read_text()
    assert f"License: {licence}" in (root / "debian" / "copyright").read_text()
