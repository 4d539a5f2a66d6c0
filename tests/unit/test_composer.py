"""What is written into composed bytes is what scapy and pyroute2 would have composed; and the process they are in."""

from __future__ import annotations

import ast
import asyncio
import functools
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address, ip_interface
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from haagent.address import encoding
from haagent.address.announce import announcements, wanted
from haagent.address.composer import CannotCompose, Composer, Wanted, here
from haagent.address.encoding import Prepared
from haagent.address.facts import IpAddress, Vip
from haagent.guards.frames import WANTED_GREETINGS, greeting, question, wanted_question

V4, V6 = ip_address("10.20.1.100"), ip_address("fd00:20::100")
QUESTION = wanted_question(V4)
macs = st.one_of(st.binary(min_size=6, max_size=6), st.sampled_from([bytes(6), b"\xff" * 6, b"\0\xff" * 3]))


@functools.cache
def composed(*asked: Wanted) -> list[bytes]:
    return asyncio.run(here(asked))


def said(address: IpAddress, mac: bytes, *, is_router: bool = False) -> list[bytes]:
    one, other = composed(*wanted(address))
    return announcements(address, (one, other), mac, is_router=is_router)


def written_anew(frame: bytes, change: Callable[[Ether], None]) -> bytes:
    """By scapy, which counts every checksum again."""
    packet = Ether(frame)
    change(packet)
    for layer in (ICMPv6ND_NA, ICMPv6ND_NS):
        if layer in packet:
            del packet[layer].cksum
    return bytes(packet)


class TestFrames:
    @given(macs, st.booleans())
    def test_an_advertisement(self, mac: bytes, is_router: bool) -> None:
        def change(packet: Ether) -> None:
            packet.src = packet[ICMPv6ND_NA].payload.lladdr = mac.hex(":")
            packet[ICMPv6ND_NA].R = int(is_router)

        assert said(V6, mac, is_router=is_router) == [written_anew(said(V6, bytes(6))[0], change)]

    @given(macs)
    def test_both_forms_of_arp(self, mac: bytes) -> None:
        for frame, target in zip(said(V4, mac), (bytes(6), mac), strict=True):
            packet = Ether(frame)
            assert packet.src == packet[ARP].hwsrc == mac.hex(":")
            assert packet[ARP].hwdst == target.hex(":")
            assert packet[ARP].psrc == packet[ARP].pdst == str(V4)

    @given(macs)
    def test_the_question_before_taking(self, mac: bytes) -> None:
        def change(packet: Ether) -> None:
            packet.src = mac.hex(":")

        frames = [question(*composed(wanted_question(address)), mac) for address in (V4, V6)]
        assert frames[1] == written_anew(frames[1], change)
        assert (Ether(frames[0]).src, Ether(frames[0])[ARP].hwsrc) == (mac.hex(":"), mac.hex(":"))

    @given(macs, st.one_of(st.none(), macs), st.ip_addresses(v=6), st.ip_addresses(v=6))
    def test_the_greeting_of_a_gateway(
        self, mac: bytes, to: bytes | None, own: IPv6Address, gateway: IPv6Address
    ) -> None:
        for sender in (str(own), ""):
            frame = greeting(composed(*WANTED_GREETINGS), mac, sender, gateway, to=to)
            packet = Ether(frame)
            assert IPv6Address(packet[IPv6].src) == IPv6Address(sender or "::")
            assert IPv6Address(packet[ICMPv6ND_NS].tgt) == gateway
            assert packet.src == mac.hex(":")
            assert frame == written_anew(frame, lambda _: None), "the checksum"

    def test_a_greeting_by_arp(self) -> None:
        mac, to = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 9])
        packet = Ether(greeting(composed(*WANTED_GREETINGS), mac, "10.20.1.10", ip_address("10.20.1.1"), to=to))
        assert (packet.dst, packet[ARP].psrc, packet[ARP].pdst) == (to.hex(":"), "10.20.1.10", "10.20.1.1")


class TestMessages:
    @given(
        st.sampled_from(["10.20.1.100/24", "fd00:20::100/64"]),
        st.integers(1, 2**31 - 1),
        st.integers(1, 2**32 - 1),
        st.booleans(),
    )
    def test_an_address(self, text: str, index: int, lifetime_s: int, is_shared: bool) -> None:
        vip = Vip(ip_interface(text), "eth0")
        prepared = Prepared(vip, composed(*encoding.wanted(vip)))
        own = {encoding.subnet(index, vip.packed, vip.prefix)} if is_shared else set()
        adding = read(prepared.add(index=index, lifetime_s=lifetime_s, own=own))
        removing = read(prepared.remove(index=index))
        for message in (adding, removing):
            assert message["index"] == index
            assert message.get_attr("IFA_LOCAL") == str(vip.address.ip)
        lifetimes = adding.get_attr("IFA_CACHEINFO")
        is_v6 = vip.address.version == 6
        assert lifetimes["ifa_valid"] == lifetime_s
        assert lifetimes["ifa_preferred"] == (0 if is_v6 else lifetime_s)
        flags = adding.get_attr("IFA_FLAGS") or 0
        assert bool(flags & encoding.IFA_F_NOPREFIXROUTE) == (is_v6 and is_shared)
        assert bool(flags & encoding.IFA_F_NODAD) == is_v6
        assert (adding["header"]["type"], removing["header"]["type"]) == (20, 21)


def read(message: bytes) -> ifaddrmsg:
    found = ifaddrmsg(message)
    found.decode()
    return found


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    with Composer() as made:
        made.begin()
        yield made


class TestProcess:
    def test_it_composes_what_this_process_would(self, composer: Composer) -> None:
        vip = Vip(ip_interface("fd00:20::100/64"), "eth0")
        asked = [*wanted(V4), *wanted(V6), QUESTION, *WANTED_GREETINGS, *encoding.wanted(vip)]
        assert asyncio.run(composer.compose(asked)) == composed(*asked)

    def test_what_is_known_needs_no_process(self, composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
        before = asyncio.run(composer.compose([QUESTION]))
        asyncio.run(composer.rest())
        monkeypatch.setattr(sys, "executable", "/nonexistent")
        assert asyncio.run(composer.compose([QUESTION])) == before
        with pytest.raises(CannotCompose, match=r"No such file.*install what is missing"):
            asyncio.run(composer.compose([wanted_question(ip_address("10.20.1.77"))]))

    def test_a_library_that_is_missing_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "scapy.py").write_text("raise ImportError('scapy is not for you')")
        monkeypatch.syspath_prepend(tmp_path)
        with Composer() as composer, pytest.raises(CannotCompose, match="scapy is not for you"):
            asyncio.run(composer.compose([QUESTION]))

    def test_one_that_hangs_is_not_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "scapy.py").write_text("import time; time.sleep(600)")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr("haagent.address.composer.COMPOSE_S", 0.2)
        with Composer() as composer, pytest.raises(CannotCompose, match="overloaded"):
            asyncio.run(composer.compose([QUESTION]))

    def test_it_ends_with_who_began_it(self) -> None:
        program = (
            "import os\n"
            "from haagent.address.composer import Composer\n"
            "composer = Composer()\n"
            "composer.begin()\n"
            "os.write(1, str(composer._process.pid).encode())\n"
            "os._exit(9)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
        child = int(done.stdout)
        try:
            waiting = os.pidfd_open(child)
        except ProcessLookupError:
            return
        assert select.select([waiting], [], [], 30)[0], "it outlives the agent"
        os.close(waiting)


AGENT = """
import asyncio, json, sys
from haagent import daemon
from haagent.address.composer import Composer
from haagent.config import parse
from haagent.guardian.will import Will

async def main(composer):
    config = parse(sys.stdin.buffer.read(), "", node="A")
    agent = daemon.Daemon(config, keys=(), run_dir="/none", state_dir="/none", will=Will(), composer=composer)
    for spec in config.groups.values():
        group = agent._agent._activation._build(spec)
        await group.open()
        await agent._agent._activation._host.watch(group.keeper.vips)
    assert await agent._agent.guards._needs(tuple(config.groups.values()), config.guards)

with Composer() as composer:
    asyncio.run(main(composer))
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


def test_only_the_composer_and_init_name_them() -> None:
    package = Path(encoding.__file__).parents[1]
    named = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(each.name for each in node.names)]
        if name.split(".")[0] in ("scapy", "pyroute2")
    }
    assert named == {"address/frames.py", "address/messages.py", "config/starter.py"}
