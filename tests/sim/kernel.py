"""A host's kernel, as far as the activation asks it: addresses with their ends, nf_tables, and who holds its locks.

It outlives every process, and it is what clients meet: `until` says how long an address answers if nothing is done.
Other programs hold the two locks now and then (`rtnl`, which changes of addresses wait for; `nft`, firewall changes),
refuse a change, remove an address, or add one.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence

from haagent.activation import Activation, Surroundings
from haagent.activation.group import Group
from haagent.backends import Backend, BackendError
from haagent.config import GroupConfig
from haagent.core.messages import Ballot
from haagent.gate import encoding as nft
from haagent.gate.channel import Overtaken, Refused
from haagent.gate.gate import PATIENCE_S, Gate
from haagent.gate.ruleset import FAMILIES, GATE, GATED, KEY, families
from haagent.kernel import host as kernel_host
from haagent.kernel.facts import TAG, AddressError, Link, Seen, Vip
from haagent.kernel.netlink import split
from haagent.simulate.network import Network, Range
from tests.sim.process import Beside, Process
from tests.support.fake_nftables import sentences

LINK = Link(index=1, name="eth0", mac=bytes(6), is_up=True, has_carrier=True, is_ethernet=False)
NEVER = float("-inf")
FOREVER_S = 0xFFFFFFFF


class Kernel:
    def __init__(
        self, world: Network, call_s: Range, *, touched: Callable[[bytes], None], fails: Callable[[bytes], bool]
    ) -> None:
        """`touched`: what becomes of this address may have changed. `fails`: it cannot be added."""
        self.world, self._call_s, self._touched, self.fails = world, call_s, touched, fails
        self.addresses: dict[bytes, tuple[Seen, float]] = {}  # until when, on its clock
        self.gated: set[bytes] = set()
        self.has_gate = False
        self.key: Key | None = None
        self.held_until = {"rtnl": 0.0, "nft": 0.0}  # true time
        self.refusing: dict[str, str] = {}  # `add`, `remove`, `nft`, `cloud` -> why

    def until(self, address: bytes) -> float:
        _, end = self.addresses.get(address, (None, NEVER))
        if not (self.has_gate and address in self.gated):
            return end
        return min(end, self.key.end(address)) if self.key is not None else NEVER

    def touched(self, addresses: Iterable[bytes]) -> None:
        for address in addresses:
            self._touched(address)

    def call(self, process: Process, lock: str) -> bool:
        """Whether it had to wait for somebody else."""
        waited_s = max(0.0, self.held_until[lock] - self.world.t - process.elapsed_s)
        process.spend(waited_s + self.world.rng.uniform(*self._call_s))
        return waited_s > 0

    def clear(self) -> None:
        """The host is gone."""
        gone = [*self.addresses]
        self.addresses.clear()
        self.gated.clear()
        self.has_gate, self.key = False, None
        self.touched(gone)

    def put(self, vip: Vip, tag: int, end: float) -> None:
        self.addresses[vip.packed] = Seen(vip.packed, vip.prefix, LINK.index, tag, "", b""), end
        self.touched([vip.packed])

    def remove(self, addresses: Iterable[bytes]) -> None:
        gone = [address for address in addresses if self.addresses.pop(address, None) is not None]
        self.touched(gone)


class Addresses(kernel_host.Host):
    """The real one, from its worker down to the reading of refusals, without sockets."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.kernel, self.process = kernel, process
        self.links.learn(LINK)

    def start(self, vips: Iterable[Vip], looked: kernel_host.Looked) -> None:
        self._looked = looked
        self._monitor = self  # type: ignore[assignment]
        held_until = self.kernel.held_until
        self._worker = Beside(self.process, self._work, held_until=lambda: held_until["rtnl"])  # type: ignore[assignment]
        self.watch(vips)

    def watch(self, vips: Iterable[Vip]) -> None:
        self._watched = frozenset(vip.packed for vip in vips)

    def close(self) -> None:
        self._monitor = None
        if self._worker is not None:
            self._worker.end()

    def _add(self, vips: Sequence[Vip], lifetime_s: int, *, is_fresh: bool) -> list[tuple[int, str]]:
        self._asked()
        why = self.kernel.refusing.get("add", "")
        if why or any(self.kernel.fails(vip.packed) for vip in vips):
            return [(errno.EINVAL, why or "the interface is gone")] * len(vips)
        lasts_s = float("inf") if lifetime_s == FOREVER_S else lifetime_s
        for vip in vips:
            self.kernel.put(vip, TAG, self.process.shown() + lasts_s)
        return [(0, "")] * len(vips)

    def remove(self, vips: Sequence[Vip]) -> None:
        with self._turn(vips):
            self._asked()
            self._refuse()
            self.kernel.remove([vip.packed for vip in vips])

    def strike(self, seen: Seen) -> None:
        self._asked()
        self._refuse()
        self.kernel.remove([seen.packed])

    def seen(self) -> list[Seen]:
        now = self.process.shown()
        return [one for one, end in self.kernel.addresses.values() if end > now]

    def promote_secondaries(self, link: Link) -> None: ...

    def touched(self, address: bytes) -> None:
        """By somebody else."""
        if address in self._watched:
            self.look()

    def _asked(self) -> None:
        self._exchanges += 1
        self.kernel.call(self.process, "rtnl")

    def _refuse(self) -> None:
        if why := self.kernel.refusing.get("remove"):
            raise AddressError(why)


class Key:
    """A netlink socket of nf_tables and the table that belongs to it. Takes the place of `gate.channel.Channel`."""

    port = 7

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self._kernel, self._process = kernel, process
        self._ends: dict[tuple[int, bytes], float] = {}

    def end(self, address: bytes) -> float:
        return min(self._ends.get((family, address), NEVER) for family in families(address))

    def commit(self, messages: bytes) -> None:
        if self._kernel.call(self._process, "nft"):
            raise Overtaken("another program has just changed the rules")
        self._refuse()
        now = self._process.shown()
        ends = {key: end for key, end in self._ends.items() if end > now}
        touched = {}
        for kind, family, address, lasts_ms in sentences(messages):
            key = family, address
            touched[address] = True
            if kind == nft.DELSETELEM:
                if ends.pop(key, None) is None:
                    raise Refused(errno.ENOENT, "no such element")
            elif key in ends:
                raise Refused(errno.EEXIST, "it is there")
            else:
                ends[key] = now + lasts_ms / 1000
        self._ends = ends
        self._kernel.touched(touched)

    def build(self, messages: Sequence[bytes]) -> None:
        if not messages:
            return
        self._kernel.call(self._process, "nft")
        if self._kernel.has_gate:  # else the agent does without, all its life, and nothing is promised then
            self._refuse()
        before = {*self._kernel.gated}
        for message in messages:
            for kind, _, _, _, body in split(message):
                self._build(kind & 0xFF, body)
        self._kernel.touched(sorted(before | self._kernel.gated))

    def _build(self, kind: int, message: bytes) -> None:
        kernel, parts = self._kernel, dict(nft.attributes(message))
        table = parts[1]
        if kind in (nft.NEWTABLE, nft.DELTABLE):
            if table == f"{GATE}\0".encode():
                kernel.has_gate = kind == nft.NEWTABLE
                if not kernel.has_gate:
                    kernel.gated.clear()
            else:
                kernel.key = self if kind == nft.NEWTABLE else None
        elif kind in (nft.NEWSETELEM, nft.DELSETELEM) and parts[2] == f"{GATED}\0".encode():
            change = kernel.gated.add if kind == nft.NEWSETELEM else kernel.gated.discard
            for address in _addresses(parts[3]):
                change(address)

    def named(self, *names: str) -> list[tuple[int, str]]:
        there = [GATE] * self._kernel.has_gate + [KEY] * (self._kernel.key is not None)
        return [(family, name) for name in there if name in names for family in FAMILIES]

    def elements(self, family: int, table: str, name: str) -> set[bytes]:
        now = self._process.shown()
        return {address for (home, address), end in self._ends.items() if home == family and end > now}

    def close(self) -> None:
        if self._kernel.key is self:
            self._kernel.key = None
            self._kernel.touched(sorted(self._kernel.gated))

    def _refuse(self) -> None:
        if why := self._kernel.refusing.get("nft"):
            raise Refused(errno.ENOMEM, why)


def _addresses(elements: bytes) -> Iterator[bytes]:
    for _, one in nft.attributes(elements, 0):
        inner = dict(nft.attributes(one, 0))
        for _, address in nft.attributes(inner[1], 0):
            yield address


class GateOf(Gate):
    """The real one, with a key of this kernel's."""

    def __init__(self, kernel: Kernel, process: Process, note: Callable[..., None]) -> None:
        super().__init__(note=note, now=process.now)
        self._kernel, self._process = kernel, process
        self._lock = Lock(self)  # type: ignore[assignment]

    def _open_channel(self) -> Key:  # type: ignore[override]
        return Key(self._kernel, self._process)

    def _make_worker(self) -> Beside:  # type: ignore[override]
        return Beside(self._process, self._renew_all, held_until=lambda: self._kernel.held_until["nft"])

    def shut(self, addresses: Sequence[bytes]) -> None:
        super().shut(addresses)
        self._kernel.touched(addresses)  # what had lapsed needs no gate any more

    def wait_s(self) -> float:
        """For the renewal, which waits for somebody else's transaction."""
        waits_until = 0.0 if self._renewal is None else self._renewal.waits_until  # type: ignore[attr-defined]
        process = self._process
        return 0.0 if process.is_beside else max(0.0, waits_until - process.world.t - process.elapsed_s)

    def spend(self, time_s: float) -> None:
        self._process.spend(time_s)


class Lock:
    """Between the loop and the thread that renews."""

    def __init__(self, gate: GateOf) -> None:
        self._gate = gate

    def acquire(self, blocking: bool = True, timeout: float = PATIENCE_S) -> bool:
        wait_s = self._gate.wait_s()
        if wait_s > 0 and not blocking:
            return False
        self._gate.spend(min(wait_s, timeout))
        return wait_s <= timeout

    def release(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


class Cloud:
    """A backend that takes its time, and may fail."""

    timeout_s = 1.0

    def __init__(self, around: Surroundings) -> None:
        assert isinstance(around.host, Addresses)
        self._kernel = around.host.kernel

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def take(self, ballot: Ballot) -> None:
        await self._answer()

    async def drop(self, ballot: Ballot) -> None:
        await self._answer()

    async def holds(self) -> bool:
        await self._answer()
        return True

    async def _answer(self) -> None:
        rng = self._kernel.world.rng
        await asyncio.sleep(rng.choice((0.002, 0.02, 0.4)) * rng.random())
        if why := self._kernel.refusing.get("cloud"):
            raise BackendError(why)


class CloudGroup(Group):
    def _backend(self, spec: GroupConfig) -> Backend:
        return Cloud(self._around)


class CloudActivation(Activation):
    def _made(self, spec: GroupConfig | None) -> Group:
        return CloudGroup(spec, self._around, touched=self.compare)
