"""All guards of one node: a sniffer on each interface, a guard for each group, and the world outside.

One object per process, on the loop's thread. It answers the core with `Guarded` and `GatewayChanged`; everything else
that it sees is a line of history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from haagent.config import Config, GroupConfig, GuardsConfig
from haagent.core.event_kinds import Kind
from haagent.core.events import GatewayChanged, Guarded
from haagent.guards.frames import Heard
from haagent.guards.group import GroupGuard
from haagent.guards.sniffer import Sniffer
from haagent.guards.surroundings import Surroundings
from haagent.guards.uplink import Uplink
from haagent.kernel.facts import Link
from haagent.kernel.routes import Routes
from haagent.kernel.timer import Timer
from haagent.parts import Commit, Ending, Facts, Still


class Guards(Still):
    name = "guards"

    def __init__(
        self,
        groups: Sequence[GroupConfig],
        wanted: GuardsConfig,
        around: Surroundings,
        *,
        counts: bool,
    ) -> None:
        """`counts`: what is outside matters to the core (`available`). Else the gateway is not even asked."""
        self._specs, self._wanted, self._counts = tuple(groups), wanted, counts
        self._around, self._links, self._post = around, around.links, around.post
        self._routes = Routes()
        self._sniffers: dict[str, Sniffer] = {}
        self._unsubscribe: list[Callable[[], None]] = []
        self._groups: dict[str, GroupGuard] = {}
        self._watched: set[str] = set()
        self._uplink: Uplink | None = None
        self._overdue_at = self._hurried_for = float("inf")
        self._alarm = Timer(self._look)
        self._is_open = False

    async def open(self) -> None:
        """After the activation: it knows the interfaces."""
        self._routes.open()
        self._is_open = True
        self._build()

    async def prepare(self, config: Config) -> Commit:
        groups, wanted, counts = tuple(config.groups.values()), config.guards, config.guards_count
        if (self._specs, self._wanted, self._counts) == (groups, wanted, counts):
            return Commit()

        def apply() -> Ending | None:
            ending = self._tear_down()
            self._specs, self._wanted, self._counts = groups, wanted, counts
            self._build()
            for name in self._watched & set(self._groups):
                self._groups[name].watch(on=True)
            return ending

        return Commit(apply)

    async def close(self) -> None:
        self._is_open = False
        ending = self._tear_down()
        self._routes.close()
        self._alarm.cancel()
        if ending is not None:
            await ending

    # the core's words

    def watch(self, group: str, *, on: bool) -> None:
        (self._watched.add if on else self._watched.discard)(group)
        if group in self._groups:
            self._groups[group].watch(on=on)
        elif on:
            self._post(Guarded(group, ""))  # it has no neighbours that could be asked
        if on:
            self.hurry()

    def ask_once(self, group: str) -> None:
        if group in self._groups:
            self._groups[group].ask_once()

    @property
    def looks_outside(self) -> bool:
        return self._uplink is not None

    def expect(self, at: float) -> None:
        """When the next peer should have been heard, on the agent's clock; called after each step. If that passes, soon
        somebody has to know whether it is this node that is cut off."""
        if at == self._overdue_at and self._alarm.is_set:
            return
        self._overdue_at = at
        self._alarm.cancel()  # put off, and not left to wake us ten times a second for nothing
        if self._uplink is not None and at not in (self._hurried_for, float("inf")):
            self._alarm.set(max(0.0, at - self._around.now()))

    def hurry(self) -> None:
        if self._uplink is not None:
            self._uplink.hurry()

    def _look(self) -> None:
        if self._around.now() >= self._overdue_at:
            self._hurried_for = self._overdue_at
            self.hurry()
        else:
            self.expect(self._overdue_at)

    # what is heard

    def _heard(self, interface: str, said: Heard) -> None:
        if self._links.has_mac(said.mac):
            return  # our own frame, thrown back by the switch or heard by another interface of this host
        for group in self._groups.values():
            if group.sniffer.interface == interface and said.address in group.addresses:
                group.heard(said)
        if self._uplink is not None:
            self._uplink.heard(interface, said)

    # the rest

    def counters(self) -> Counter[str]:
        """Of all groups: strangers that used an address while it was held here, and what was done about it."""
        return sum((group.conflict.counters for group in self._groups.values()), Counter())

    def status(self) -> Facts:
        facts = {
            "arp": self._wanted.arp,
            "outside": self._uplink.status() if self._uplink is not None else None,
            "groups": {name: group.status() for name, group in self._groups.items()},
            "faults": [sniffer.complaint for sniffer in self._sniffers.values() if sniffer.complaint],
        }
        return {"guards": facts, "warnings": [*warnings(facts)]}

    def _build(self) -> None:
        if not self._is_open:
            return
        if self._wanted.arp:
            for spec in self._specs:
                self._groups[spec.name] = GroupGuard(spec, self._sniffer(spec.interface), self._around)
        if self._counts and self._wanted.looks_outside:
            self._uplink = Uplink(
                self._wanted, self._specs, self._around, routes=self._routes, sniffer_of=self._tuned_sniffer
            )
        for interface in tuple(self._sniffers):
            self._tuned_sniffer(interface)
        for group in self._groups.values():
            group.prepare()
        if self._uplink is not None:
            self._uplink.look()

    def _tear_down(self) -> Ending | None:
        """Nothing is asked or heard any more. What is returned waits for the end of questions that are under way."""
        ending = None
        if self._uplink is not None:
            ending = self._uplink.close()
            if self._uplink.reachable is not None and self._is_open:
                self._post(GatewayChanged(None))
            self._uplink = None
        for group in self._groups.values():
            group.close()
        self._groups.clear()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe.clear()
        for sniffer in self._sniffers.values():
            sniffer.close()
        self._sniffers.clear()
        return ending

    def _sniffer(self, interface: str) -> Sniffer:
        if interface not in self._sniffers:
            sniffer = Sniffer(interface, heard=self._heard, tell=self._complain)
            sniffer.link_changed(self._links.get(interface))
            self._sniffers[interface] = sniffer
            self._unsubscribe.append(self._links.subscribe(interface, lambda link: self._link_changed(sniffer, link)))
        return self._sniffers[interface]

    def _tuned_sniffer(self, interface: str) -> Sniffer:
        """Listens for what the groups and the gateways of that interface need now."""
        sniffer = self._sniffer(interface)
        addresses = [
            address
            for group in self._groups.values()
            if group.sniffer is sniffer
            for address in group.addresses.values()
        ]
        gateways = self._uplink.addresses_on(interface) if self._uplink is not None else []
        sniffer.listen_for(addresses, gateways)
        return sniffer

    def _complain(self, text: str) -> None:
        self._around.note(Kind.UNWATCHED, "", text)

    def _link_changed(self, sniffer: Sniffer, link: Link | None) -> None:
        sniffer.link_changed(link)
        for group in self._groups.values():
            if group.sniffer is sniffer:
                group.prepare()


def warnings(facts: Facts) -> Iterator[str]:
    outside = facts["outside"] or {}
    if outside.get("why_not_watched"):
        yield f"The gateway is not watched: {outside['why_not_watched']}."
    if outside.get("reachable") is False:
        asked = [f"gateway {each['address']}" for each in outside["gateways"]] + (
            ["the host of `guards.probe`"] if "probe" in outside else []
        )
        yield (
            f"This node cannot reach {' or '.join(asked)}: if it is the only one, it releases its groups and takes "
            "none."
        )
    for fault in facts["faults"]:
        yield f"{fault}."
