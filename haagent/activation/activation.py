"""All groups of this node: start, the core's words, the regular comparison, reload, stop.

One object per process. Everything here runs on the loop's thread; a call from the core does its work before it
returns when the backend allows it (`arp`), and never waits for anything outside.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from haagent.activation.group import Group
from haagent.activation.step import NO_BALLOT
from haagent.activation.steps import Leftover
from haagent.activation.surroundings import Surroundings
from haagent.config import Config, GroupConfig
from haagent.core.event_kinds import Kind
from haagent.core.events import AddressFound, Dropped, Lingering, TakeFailed
from haagent.core.messages import Ballot
from haagent.core.settings import LEADER
from haagent.gate import GateError, gate_warnings
from haagent.kernel.facts import AddressError, Seen, Vip
from haagent.kernel.links import Links
from haagent.kernel.timer import Timer
from haagent.parts import Commit, Ending, Facts, Still
from haagent.plugins.contained import Broke

COMPARE_S = 2.0  # design: "every few seconds and on each change"; shorter than the shortest lifetime is not needed


class Activation(Still):
    name = "activation"

    def __init__(
        self,
        groups: Iterable[GroupConfig],
        around: Surroundings,
        *,
        adopt: bool = False,
        may_have: Callable[[Iterable[bytes]], None] = lambda _: None,
    ) -> None:
        """`adopt`: an earlier life's addresses are reported by `AddressFound` and left for the core to decide on.

        `may_have` is told all addresses that may be here from now on: who cleans up after us must know them before.
        """
        self._around, self._host, self._gate = around, around.host, around.gate
        self._post, self._note = around.post, around.note
        self._adopt, self._may_have = adopt, may_have
        self._groups = {spec.name: self._made(spec) for spec in groups}
        self._groups.setdefault(LEADER, self._made(None))
        self._ending: dict[str, Group] = {}  # not configured any more, until nothing of them is left
        self._prepared: dict[str, Group] = {}  # for a reload
        self._owing: set[str] = set()  # groups that have not let go yet of what a reload took from them
        self._regularly, self._soon = Timer(self._tick), Timer(self.compare)
        self._seen: Sequence[Seen] | AddressError = ()

    def _made(self, spec: GroupConfig | None) -> Group:
        return Group(spec, self._around, touched=self.compare)

    async def open(self) -> None:
        """Open everything, then look at what an earlier life left."""
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        groups = self._groups.values()
        self._may_have(_packed(groups))
        self._host.start(self._vips(), self._compare)
        self._gate.start(_packed(groups), adopting=_packed(self._left_behind()))
        await asyncio.gather(*map(self._open_group, groups))
        self._clean_up()
        for group in groups:
            group.start_checks()
        self._tick()

    async def _open_group(self, group: Group) -> None:
        try:
            await group.open()
        except Broke as fault:
            self._note(Kind.FAILED, group.name, f"{fault}; it is tried again when the group is taken")

    def take(
        self, group: str, ballot: Ballot, until: float, vanished: tuple[str, ...] = (), withheld: tuple[int, ...] = ()
    ) -> None:
        if (found := self._groups.get(group)) is not None:
            self._pass_on(found.share.numbered_without(withheld))
            found.take(ballot, until, vanished, withheld)
        else:
            self._post(TakeFailed(group=group, ballot=ballot, error=f"{group} is not configured on this node"))

    def withhold(self, group: str, addresses: tuple[int, ...]) -> None:
        if (found := self._groups.get(group)) is not None:
            self._pass_on(found.share.numbered_without(addresses))
            found.withhold(addresses)

    def _pass_on(self, served: Collection[bytes]) -> None:
        """What an earlier configuration's group could not remove yet is removed later: but not from who has it now."""
        for name in self._owing:
            if (owing := self._groups.get(name)) is not None:
                owing.yield_up(served)
            elif (ending := self._ending.get(name)) is not None:
                ending.yield_up(served)
                ending.share.lose(served)

    def expect(self, group: str) -> None:
        """A take or a drop of it, soon."""
        if group in self._groups:
            self._groups[group].pipeline.prepare()

    def renew(self, group: str, until: float) -> None:
        if group in self._groups:
            self._groups[group].renew(until)

    def drop(self, group: str, ballot: Ballot, why: str) -> None:
        found = self._groups.get(group) or self._ending.get(group)
        if found is not None:
            found.pipeline.drop(ballot, why)
        else:
            self._post(Dropped(group=group, ballot=ballot))  # nothing of it has ever been here, or nothing is any more

    def announce(self, group: str, why: str) -> None:
        if group in self._groups and self._groups[group].pipeline.tenure is not None:
            self._note(Kind.ANNOUNCED, group, f"told the neighbours again: {why}")
            self._groups[group].pipeline.reassert()

    @property
    def links(self) -> Links:
        return self._host.links

    def holds(self, group: str) -> bool:
        """Traffic for it may arrive here."""
        return group in self._groups and self._groups[group].pipeline.is_open

    def withholds(self, group: str, packed: bytes) -> bool:
        """It is one of its addresses, and another node may serve it."""
        return group in self._groups and packed in self._groups[group].share.withheld_packed

    def defend(self, group: str) -> None:
        """A stranger uses its addresses: the neighbours hear again, without a line of history, who has them."""
        if self.holds(group):
            self._groups[group].pipeline.reassert()

    def leave(self) -> None:
        """Maintenance: this process ends and what it holds stays in place, for its next life to adopt.

        What else is there of our addresses goes; if it does not, or is somebody's, the gate stays shut for it.
        """
        left: set[bytes] = set()
        for group in (*self._groups.values(), *self._ending.values()):
            if group.pipeline.tenure is not None:
                left.update(group.share.served_packed)
                group.leave()
            elif group.pipeline.is_adopting:  # stays as it was found
                left.update(address for address in group.share.every_packed if not self._gate.holds_back([address]))
            else:
                group.pipeline.hide_nothing()
        others = {vip.packed for vip in self._vips()} - left
        if keeps := self._has_any(others):
            self._guard(others)
        self._gate.close(keeps=keeps)

    async def prepare(self, config: Config) -> Commit:
        """Unchanged groups do not notice another configuration, a held one that changed stays held.

        A group that is gone is let go. Ask the core to hand it over first, if that matters.
        """
        wanted = config.groups
        fresh = {
            name: self._made(spec)
            for name, spec in wanted.items()
            if name not in self._groups or self._groups[name].spec != spec
        }
        gone = [name for name in self._groups if name != LEADER and name not in wanted]
        if not fresh and not gone:
            return Commit()
        self._prepared = fresh

        async def abandon() -> None:
            self._prepared = {}
            await asyncio.gather(*(group.close() for group in fresh.values()))
            self._watch()

        try:
            self._watch()  # also what is to come: nothing of it is here yet
            for group in fresh.values():
                await group.open()
                await asyncio.sleep(0)  # a hundred of them are not to keep a heartbeat waiting
        except BaseException:
            await abandon()
            raise
        return Commit(lambda: self._swap(gone, fresh), abandon)

    def _swap(self, gone: Sequence[str], fresh: dict[str, Group]) -> Ending:
        """In one turn. What is given up is given up by all before any of them goes on: addresses may change hands."""
        self._prepared = {}
        endings = []
        for name in gone:
            group = self._ending[name] = self._groups.pop(name)
            group.pipeline.end("the group was removed from the configuration")
            endings.append(group.retire())
        going = self._give_up(fresh)
        for name, group in fresh.items():
            if (old := self._groups.get(name)) is not None:
                endings.append(old.retire())
            if (old := old or self._ending.pop(name, None)) is not None:
                group.succeed(old, going.get(name))
            self._groups[name] = group
        self._look_who_owes()
        for group in fresh.values():
            if group.pipeline.tenure is not None:
                self._pass_on(group.share.served_packed)
            group.go_on()
            group.start_checks()
        self.compare()
        return self._end(endings)

    def _look_who_owes(self) -> None:
        self._owing = {*self._ending, *(name for name, group in self._groups.items() if group.pipeline.leftovers)}

    def _give_up(self, fresh: Mapping[str, Group]) -> dict[str, Leftover]:
        """The addresses that changed groups lose go in two calls to the kernel. Returns those that did not."""
        going = {}
        for name, new in fresh.items():
            old = self._groups.get(name) or self._ending.get(name)
            if old is not None and not old.pipeline.is_settled:
                staying = {vip.packed for vip in new.reconciler.vips}
                going[name] = [vip for vip in old.reconciler.vips if vip.packed not in staying]
        try:
            if any(going.values()):
                Leftover([vip for vips in going.values() for vip in vips], self._host, self._gate).drop(NO_BALLOT)
        except (GateError, AddressError):  # told by those that try again
            self._tell_what_lingers(going)
            return {name: Leftover(vips, self._host, self._gate) for name, vips in going.items() if vips}
        return {}

    def _tell_what_lingers(self, going: Mapping[str, Sequence[Vip]]) -> None:
        for name, vips in going.items():
            answering = {vip.packed for vip in vips if not self._gate.holds_back([vip.packed])}
            if answering and (group := self._groups.get(name)) is not None:
                self._post(Lingering(name, group.share.numbers(answering)))

    async def _end(self, endings: Sequence[Ending]) -> None:
        await asyncio.gather(*endings)
        self._forget()
        self._watch()

    def _forget(self) -> None:
        """What an earlier configuration had is of no interest any more once nothing of it is left."""
        settled = [name for name, group in self._ending.items() if group.pipeline.is_settled]
        for name in settled:
            del self._ending[name]
        if settled:
            self._may_have(vip.packed for vip in self._vips())
        if self._owing:
            self._look_who_owes()

    def _watch(self) -> None:
        """What is configured, what is still here and what a reload prepares, for all who look after addresses."""
        vips = self._vips()
        packed = {vip.packed for vip in vips}
        self._may_have(packed)
        self._host.watch(vips)
        self._guard(packed.difference(_packed(group for group in self._groups.values() if group.pipeline.is_adopting)))

    def _guard(self, addresses: Iterable[bytes]) -> None:
        try:
            self._gate.guard(addresses)
        except GateError as error:
            self._note(Kind.GATE, "", f"the gate is not as the configuration wants it: {error}")

    async def close(self) -> None:
        self._regularly.cancel()
        self._soon.cancel()
        closing = [group.close() for group in self._groups.values()]
        await asyncio.gather(*closing, *(group.pipeline.close() for group in self._ending.values()))
        self._gate.close(keeps=self._has_any({vip.packed for vip in self._vips()}))
        self._host.close()

    def compare(self) -> None:
        """What is, against what should be; on each message of the monitor and every two seconds."""
        self._host.look()

    def _compare(self, seen: Sequence[Seen] | AddressError) -> None:
        self._seen = seen
        if isinstance(seen, AddressError):
            self._note(Kind.FAILED, "", str(seen))
            return
        waits = [group.compare(seen) for group in self._groups.values()]
        again = min((wait for wait in waits if wait > 0), default=0.0)
        if again and not self._soon.is_set:
            self._soon.set(again)

    def status(self) -> Facts:
        groups = {name: facts for name, facts in self.groups().items() if name != LEADER}
        facts = {name: {"gate": facts["gate"], "activation": facts} for name, facts in groups.items()}
        return {"groups": facts, "warnings": [*gate_warnings(groups)]}

    def counters(self) -> Mapping[str, int]:
        """What the gate had to do (it lapsed, was slammed or rebuilt), and of all groups together what was repaired."""
        total = Counter({f"gate_{what}": count for what, count in self._gate.counters.items()})
        total.update(lapsed=0, restored=0, removed=0, announced=0, repaired=0)
        for group in self._groups.values():
            total.update(group.counters)
        return total

    def groups(self) -> dict[str, Facts]:
        """Per group: whether it is held, what was last seen in the kernel (who wants to know it often must not make the
        loop wait for that), how long each step took, what had to be repaired."""
        if isinstance(self._seen, AddressError):
            return {name: group.status([]) | {"addresses": None} for name, group in self._groups.items()}
        return {name: group.status(self._seen) for name, group in self._groups.items()}

    def _tick(self) -> None:
        self._regularly.set(COMPARE_S)
        for group in self._groups.values():
            group.pipeline.check_lease()
            group.pipeline.verify()
        self._forget()
        self.compare()

    def _left_behind(self) -> list[Group]:
        """Whose addresses an earlier life has left in place, for us to adopt."""
        seen = self._host.seen() if self._adopt else []
        return [group for group in self._groups.values() if group.reconciler.mine(seen)]

    def _has_any(self, addresses: Collection[bytes]) -> bool:
        """One of them is there: it could not be removed, or somebody has added it."""
        try:
            return any(one.packed in addresses for one in self._host.seen())
        except AddressError:
            return True

    def _clean_up(self) -> None:
        seen = self._host.seen()
        adopting = self._left_behind()
        for name, group in self._groups.items():
            if group in adopting:
                group.pipeline.is_adopting = True
                self._post(AddressFound(group=name))
            else:
                group.reconciler.clear(seen, "was left by an earlier life of the agent")
        configured = {vip.packed for vip in self._vips()}
        for one in seen:
            if one.is_ours and one.packed not in configured:
                where = self._host.links.name_of(one.index)
                text = f"{one} on {where} has our tag and is not configured any more"
                try:
                    self._host.strike(one)
                    self._note(Kind.REMOVED, "", f"{text}; removed")
                except AddressError as error:
                    self._note(Kind.STUCK, "", f"{text}: {error}")

    def _vips(self) -> list[Vip]:
        """All that may be here now, and after the reload that is being prepared."""
        groups = (*self._groups.values(), *self._ending.values())
        left = [vip for group in groups for leftover in group.pipeline.leftovers for vip in leftover.vips]
        return [*(vip for group in (*groups, *self._prepared.values()) for vip in group.reconciler.vips), *left]


def _packed(groups: Iterable[Group]) -> list[bytes]:
    return [vip.packed for group in groups for vip in group.reconciler.vips]
