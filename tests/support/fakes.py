"""The edges of the activation, for tests: a kernel that refuses, a cloud that is slow, a clock that can be set."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from haagent.activation import Surroundings
from haagent.activation.hooks import Hooks
from haagent.backends import BackendError
from haagent.config import HooksConfig
from haagent.core.messages import Ballot
from haagent.gate import NoGate
from haagent.kernel.facts import TAG, AddressError, Link, Seen, Vip
from haagent.kernel.links import Links
from tests.support.layouts import LAYOUTS

T = TypeVar("T")


class FakeHost:
    """A kernel in a dictionary. `refusing` names what it refuses; `log` is what it was asked, in order."""

    def __init__(self, *interfaces: str) -> None:
        self.links = Links()
        self.held: dict[tuple[bytes, int], Seen] = {}
        self.lifetimes: list[int] = []
        self.log: list[str] = []
        self.refusing: dict[str, str] = {}
        self.promoted: list[str] = []
        self.looked: Callable[[list[Seen] | AddressError], None] = lambda _: None
        for index, name in enumerate(interfaces, 1):
            self.links.learn(link(name, index))

    def start(self, vips: Iterable[Vip], looked: Callable[[list[Seen] | AddressError], None]) -> None:
        self.looked = looked

    def look(self) -> None:
        self.looked(self.seen())

    def renew(self, vips: Sequence[Vip], lifetime_s: Callable[[], int], told: Callable[[str], None]) -> None:
        try:
            self.add(vips, lifetime_s())
        except AddressError as error:
            told(str(error))
        else:
            told("")

    def watch(self, vips: Iterable[Vip]) -> None: ...
    def close(self) -> None: ...

    def add(self, vips: Sequence[Vip], lifetime_s: int) -> None:
        self._ask("add")
        self.lifetimes.append(lifetime_s)
        for vip in vips:
            there = self.links.get(vip.interface)
            if there is None:
                raise AddressError(f"{vip.interface} does not exist")
            self.put(str(vip.address), there.index, tag=TAG)

    def put(self, address: str, index: int = 1, *, tag: int = 0) -> None:
        from ipaddress import ip_interface

        packed, prefix = ip_interface(address).ip.packed, ip_interface(address).network.prefixlen
        self.held[packed, index] = Seen(packed, prefix, index, tag, "", b"")

    def remove(self, vips: Sequence[Vip]) -> None:
        self._ask("remove")
        gone = {vip.packed for vip in vips}
        self.held = {key: seen for key, seen in self.held.items() if key[0] not in gone}

    def strike(self, seen: Seen) -> None:
        self._ask("strike")
        del self.held[seen.packed, seen.index]

    def seen(self) -> list[Seen]:
        return list(self.held.values())

    def promote_secondaries(self, link: Link) -> None:
        self.promoted.append(link.name)

    def addresses(self) -> list[str]:
        return sorted(str(seen) for seen in self.held.values())

    def _ask(self, what: str) -> None:
        self.log.append(what)
        if what in self.refusing:
            raise AddressError(self.refusing[what])


def link(name: str, index: int, *, has_carrier: bool = True) -> Link:
    return Link(index=index, name=name, mac=bytes(6), is_up=True, has_carrier=has_carrier, is_ethernet=False)


def no_hooks() -> Hooks:
    return Hooks(HooksConfig(), group="web", node="A", addresses=(), note=lambda *_: None)


def around(**known: Any) -> Surroundings:
    """Of groups on node A of cluster `shop`, with no gate and no fences unless they are given."""
    return Surroundings(
        **{"cluster": "shop", "node": "A", "gate": NoGate(), "fences": None, "layouts": LAYOUTS} | known
    )


class CloudOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    region: str = ""


class Cloud:
    """A provider: who it steers clients to, and how it behaves when asked."""

    def __init__(self) -> None:
        self.holder = ""
        self.log: list[str] = []
        self.refusing = ""
        self.gate: asyncio.Event | None = None  # answers only when it is set
        self.ignores_cancellation = False


class CloudBackend:
    """A backend that is not immediate."""

    Options: ClassVar[type[msgspec.Struct]] = CloudOptions
    timeout_s: float = 5.0

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def take(self, ballot: Ballot) -> None:
        self.cloud.log.append(f"take {ballot}")
        try:
            await self._answer()
        except asyncio.CancelledError:
            if not self.cloud.ignores_cancellation:
                raise
        if self.cloud.refusing:
            raise BackendError(self.cloud.refusing)
        self.cloud.holder = "me"
        self.cloud.log.append("taken")

    async def drop(self, ballot: Ballot) -> None:
        self.cloud.log.append(f"drop {ballot}")
        await self._answer()
        self.cloud.holder = ""

    async def holds(self) -> bool:
        await self._answer()
        return self.cloud.holder == "me"

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.cloud.gate is not None:
            await self.cloud.gate.wait()


class _Jumping(selectors.DefaultSelector):
    """Never waits: the time it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.passed += timeout
            timeout = 0
        return super().select(timeout)


def run_virtual(story: Callable[[Callable[[], float]], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in virtual time: its timers fire in order and at once. `story` is given the clock."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)

    def now() -> float:
        return 1000.0 + selector.passed

    loop.time = now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(story(now))
    finally:
        loop.close()
