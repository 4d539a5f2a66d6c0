"""What the worker asks of the kernel, and what the loop decides meanwhile. The kernel is one that can be held up."""

from __future__ import annotations

import asyncio
import errno
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from ipaddress import ip_interface

import pytest

from haagent.kernel import encoding
from haagent.kernel.facts import AddressError, Link, Seen, Vip
from haagent.kernel.host import Host
from haagent.kernel.netlink import Inquirer, attribute, message, split
from tests.support.fakes import link
from tests.support.layouts import LAYOUTS

ONE, TWO = (Vip(address=ip_interface(f"10.20.1.{number}/24"), interface="lo") for number in (101, 102))
WORDS = {encoding.RTM_NEWADDR: "add", encoding.RTM_DELADDR: "remove"}
Looks = list[list[Seen] | AddressError]
TICKS = 20
PATIENCE_S = 10.0


class SlowKernel:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.links: list[bytes] = []
        self.answers = threading.Event()
        self.answers.set()
        self.is_asked = threading.Event()

    def exchange(self, requests: Sequence[bytes]) -> list[tuple[int, str]]:
        self._wait()
        for request in requests:
            ((kind, *_, message),) = split(request)
            self.said.append(f"{WORDS[kind]} {encoding.read_address(message).address}")
        return [(0, "")] * len(requests)

    def listed(self, kind: int) -> list[bytes]:
        found = [*self.links] if kind == encoding.RTM_GETLINK else []
        self._wait()
        self.said.append("list")
        return found

    def _wait(self) -> None:
        self.is_asked.set()
        assert self.answers.wait(PATIENCE_S)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowKernel]:
    kernel = SlowKernel()
    monkeypatch.setattr(Inquirer, "exchange", lambda _, requests: kernel.exchange(requests))
    monkeypatch.setattr(Inquirer, "listed", lambda _, kind, *__, **___: kernel.listed(kind))
    yield kernel
    kernel.answers.set()


def run(kernel: SlowKernel, story: Callable[[Host, Looks], Awaitable[None]]) -> None:
    async def main() -> None:
        host, looks = Host(LAYOUTS), Looks()
        host.start([ONE, TWO], looks.append)
        host.links.learn(link("lo", 1))
        kernel.said.clear()
        kernel.is_asked.clear()
        try:
            await story(host, looks)
        finally:
            kernel.answers.set()
            host.close()

    asyncio.run(main())


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.001)


def test_the_loop_goes_on_while_the_kernel_does_not_answer(kernel: SlowKernel) -> None:
    async def story(host: Host, looks: Looks) -> None:
        faults: list[str] = []
        kernel.answers.clear()
        host.renew([ONE], lambda: 2, faults.append)
        host.look()
        await until(kernel.is_asked.is_set)
        for _ in range(TICKS):
            await asyncio.sleep(0.001)
        assert (kernel.said, faults, looks) == ([], [], [])
        kernel.answers.set()
        await until(lambda: looks)
        assert (kernel.said, faults, looks) == (["add 10.20.1.101", "list"], [""], [[]])

    run(kernel, story)


@pytest.mark.parametrize("decide", ["remove", "add"])
def test_what_the_loop_decides_voids_the_renewal_that_waits(kernel: SlowKernel, decide: str) -> None:
    async def story(host: Host, _looks: Looks) -> None:
        told: list[str] = []
        kernel.answers.clear()
        host.renew([TWO], lambda: 2, told.append)
        await until(kernel.is_asked.is_set)
        host.renew([ONE], lambda: 2, told.append)
        host.renew([TWO], lambda: 2, told.append)
        threading.Timer(0.05, kernel.answers.set).start()
        if decide == "remove":
            host.remove([ONE, TWO])
        else:
            host.add([ONE, TWO], 60)
        host.look()
        await until(lambda: told)
        decided = [f"{decide} {vip.address.ip}" for vip in (ONE, TWO)]
        assert [said for said in kernel.said if said != "list"] == ["add 10.20.1.102", *decided]
        assert told == [""]

    run(kernel, story)


def test_it_is_not_renewed_when_it_is_too_late(kernel: SlowKernel) -> None:
    async def story(host: Host, _looks: Looks) -> None:
        told: list[str] = []
        host.renew([ONE], lambda: 0, told.append)
        await until(lambda: told)
        assert (kernel.said, told) == ([], [""])

    run(kernel, story)


def test_a_look_from_before_a_change_is_done_again(kernel: SlowKernel) -> None:
    async def story(host: Host, looks: Looks) -> None:
        host.look()
        while "list" not in kernel.said:  # the loop does not turn meanwhile, and does not hear of it
            time.sleep(0.001)
        host.add([ONE], 60)
        await until(lambda: looks)
        assert (kernel.said, looks) == (["list", "add 10.20.1.101", "list"], [[]])

    run(kernel, story)


def told_of(name: str, index: int, *, kind: int = encoding.RTM_NEWLINK) -> bytes:
    head = encoding._LINK.pack(0, 0, index, 0, 0)
    return message(kind, head + attribute(encoding.IFLA_IFNAME, name.encode() + b"\0"))


class Monitor:
    """None: messages were lost."""

    def __init__(self, *arrived: bytes | None) -> None:
        self._arrived = [*arrived]

    def recv(self, _size: int) -> bytes:
        if not self._arrived:
            raise BlockingIOError
        if (datagram := self._arrived.pop(0)) is None:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return datagram


def test_links_are_listed_beside_the_loop_when_messages_were_lost_and_news_are_newer(kernel: SlowKernel) -> None:
    async def story(host: Host, looks: Looks) -> None:
        heard: list[tuple[str, Link | None]] = []
        for name in ("eth1", "eth2", "eth3"):
            host.links.subscribe(name, lambda link, name=name: heard.append((name, link)))  # type: ignore[misc]
        host._drain(Monitor(told_of("eth1", 11), told_of("eth2", 12)))  # type: ignore[arg-type]
        heard.clear()
        kernel.links = [told_of("eth2", 12), told_of("eth3", 13)]
        kernel.answers.clear()
        host._drain(Monitor(None))  # type: ignore[arg-type]
        await until(kernel.is_asked.is_set)
        host._drain(Monitor(told_of("eth2", 12, kind=encoding.RTM_DELLINK)))  # type: ignore[arg-type]
        kernel.answers.set()
        await until(lambda: looks)
        assert [(name, link is None) for name, link in heard] == [("eth2", True), ("eth1", True), ("eth3", False)]

    run(kernel, story)


def test_a_list_from_before_more_was_lost_is_not_believed(kernel: SlowKernel) -> None:
    async def story(host: Host, looks: Looks) -> None:
        kernel.links = [told_of("eth1", 11)]
        kernel.answers.clear()
        host._drain(Monitor(None))  # type: ignore[arg-type]
        await until(kernel.is_asked.is_set)
        kernel.links = []
        host._drain(Monitor(None))  # type: ignore[arg-type]
        kernel.answers.set()
        await until(lambda: looks)
        assert host.links.get("eth1") is None

    run(kernel, story)


def test_a_second_list_for_the_same_loss_is_not_believed(kernel: SlowKernel) -> None:
    """More was lost between the moment when the worker began and the moment when it looked for which loss it was."""

    async def story(host: Host, looks: Looks) -> None:
        host._drain(Monitor(told_of("eth1", 11)))  # type: ignore[arg-type]
        host._has_listed(None, [])
        assert host.links.get("eth1") is not None
        assert not looks

    run(kernel, story)
