"""Does this node reach the world: its gateways and the third party together, as one word for the core.

Each has a `Reachability` of its own. The node reaches the world while any of them answers, and has lost it when none
does; until enough is known the last word stands.

A gateway is asked by ARP or neighbour solicitation and not by an echo request: every router answers those, or it could
not route, while many drop echoes. It is asked at its known hardware address first, so that a whole link need not look
up each second, and by broadcast as soon as that has failed: another router may have taken over its address.

Which gateway: with `auto` that of each group's interface, looked up in the kernel's routes each second, because routes
come and go with leases and daemons. A route that vanishes with its interface is no news about the gateway; one that
is gone for three seconds while the interface is well is: then it is not watched any more, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

import msgspec

from haagent.config import GroupConfig, GuardsConfig, ProbeConfig
from haagent.core.event_kinds import Kind
from haagent.core.events import GatewayChanged
from haagent.guards import probe
from haagent.guards.frames import Heard, greeting
from haagent.guards.reachability import Reachability, hurried_s
from haagent.guards.sniffer import Sniffer
from haagent.guards.surroundings import Surroundings
from haagent.kernel.facts import AddressError, IpAddress
from haagent.kernel.layouts import Layouts
from haagent.kernel.routes import Routes
from haagent.kernel.timer import Timer
from haagent.parts import Ending

LOOK_S = 1.0
LOOKS_UNTIL_GONE = 3


class Place(msgspec.Struct, frozen=True):
    interface: str
    address: IpAddress


class Gateway:
    """One router, asked through a sniffer."""

    def __init__(self, place: Place, sniffer: Sniffer, reach: Reachability, layouts: Layouts) -> None:
        self.place, self.sniffer, self.reach = place, sniffer, reach
        self._layouts = layouts
        self.own = ""  # our address towards it
        self._mac: bytes | None = None

    def heard(self, said: Heard, now: float) -> None:
        if not said.is_probe:
            self._mac = said.mac
            self.reach.answered(now)

    def ask(self) -> None:
        link = self.sniffer.link
        if self.sniffer.fault or link is None or not link.is_ethernet:
            return
        to = self._mac if not self.reach.has_missed else None
        self.sniffer.say([greeting(self._layouts, link.mac, self.own, self.place.address, to=to)])


class ThirdParty:
    """Asked by attempts that run beside one another: a slow one must not keep the next from being made."""

    def __init__(self, wanted: ProbeConfig, reach: Reachability, answered: Callable[[], None]) -> None:
        self.wanted, self.reach = wanted, reach
        self._answered = answered
        self._attempts: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        attempt = asyncio.get_running_loop().create_task(self._attempt())
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)

    async def _attempt(self) -> None:
        if await probe.answers(self.wanted):
            self._answered()

    def close(self) -> Ending:
        for attempt in self._attempts:
            attempt.cancel()
        return self._ended(tuple(self._attempts))

    async def _ended(self, attempts: tuple[asyncio.Task[None], ...]) -> None:
        await asyncio.gather(*attempts, return_exceptions=True)


class Uplink:
    def __init__(
        self,
        wanted: GuardsConfig,
        groups: Sequence[GroupConfig],
        around: Surroundings,
        *,
        routes: Routes,
        sniffer_of: Callable[[str], Sniffer],
    ) -> None:
        self.reachable: bool | None = None
        self.why_not_watched = ""
        self.gateways: dict[Place, Gateway] = {}
        self._wanted, self._around = wanted, around
        self._routes, self._links, self._sniffer_of = routes, around.links, sniffer_of
        self._interfaces = tuple(dict.fromkeys(spec.interface for spec in groups))
        self._ours = {address.ip.packed for spec in groups for address in spec.addresses}
        self._missing: dict[Place, int] = {}  # looks at which the route was not there
        self._third_party: ThirdParty | None = None
        if wanted.probe is not None:
            # Three attempts, begun a third of the time-out apart, are over with the time-out of the first.
            reach = Reachability(now=_now(), hurried_s=wanted.probe.timeout_s / 3)
            self._third_party = ThirdParty(wanted.probe, reach, self._third_party_answered)
        self._timer, self._regularly = Timer(self._tick), Timer(self.look)

    def close(self) -> Ending | None:
        """Nothing is asked any more; what is returned waits for the end of what is under way."""
        self._timer.cancel()
        self._regularly.cancel()
        return None if self._third_party is None else self._third_party.close()

    def hurry(self) -> None:
        """A peer is silent: soon it matters whether it is we who are cut off."""
        now = _now()
        for asked in self._asked():
            asked.reach.hurry(now)
        self._tick()

    def heard(self, interface: str, said: Heard) -> None:
        for gateway in self.gateways.values():
            if gateway.place.interface == interface and gateway.place.address.packed == said.address:
                gateway.heard(said, _now())
                self._judge()

    def addresses_on(self, interface: str) -> list[IpAddress]:
        return [place.address for place in self.gateways if place.interface == interface]

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "reachable": self.reachable,
            "gateways": [
                {"address": str(place.address), "interface": place.interface, "reachable": gateway.reach.reachable}
                for place, gateway in self.gateways.items()
            ],
            "why_not_watched": self.why_not_watched,
        }
        if self._third_party is not None:
            asked = self._third_party.wanted
            facts["probe"] = {asked.kind: asked.target, "reachable": self._third_party.reach.reachable}
            facts["witness"] = facts["probe"]  # its former name
        return facts

    # asking

    def _asked(self) -> list[Gateway | ThirdParty]:
        third = [self._third_party] if self._third_party is not None else []
        return [*self.gateways.values(), *third]

    def _tick(self) -> None:
        self._timer.cancel()
        for sniffer in {gateway.place.interface: gateway.sniffer for gateway in self.gateways.values()}.values():
            sniffer.drain()
        now = _now()
        for asked in self._asked():
            if asked.reach.advance(now):
                asked.ask()
        self._judge()
        due = min((asked.reach.due for asked in self._asked()), default=None)
        if due is not None and not self._timer.is_set:
            self._timer.set(max(0.0, due - now))

    def _third_party_answered(self) -> None:
        assert self._third_party is not None
        self._third_party.reach.answered(_now())
        self._judge()

    def _judge(self) -> None:
        words = {asked.reach.reachable for asked in self._asked()}
        if True in words:
            word: bool | None = True
        elif None in words:
            word = self.reachable
        else:
            word = False if words else None
        if word != self.reachable:
            before, self.reachable = self.reachable, word
            if word is not None and before is not None:
                self._note(Kind.REACHED if word else Kind.UNREACHED, self._sentence(reachable=word))
            self._around.post(GatewayChanged(word))

    def _sentence(self, *, reachable: bool) -> str:
        names = [f"gateway {place.address} on {place.interface}" for place in self.gateways]
        if self._third_party is not None:
            names.append(f"probe {self._third_party.wanted.target}")
        return f"{' and '.join(names)} {'answers again' if reachable else 'cannot be reached'}"

    # where the gateways are

    def look(self) -> None:
        """From now on, each second, at the routes."""
        self._regularly.set(LOOK_S)
        try:
            found, why_none = self._places() if self._wanted.gateway != "off" else ({}, "")
            self._follow(found)
            self._complain("" if self.gateways else why_none)
        except AddressError as error:
            self._complain(str(error))
        self._tick()

    def _follow(self, found: dict[Place, str]) -> None:
        for place in [place for place in self.gateways if place not in found]:
            self._miss(place)
        for place, own in found.items():
            self._missing.pop(place, None)
            if place not in self.gateways:
                reach = Reachability(now=_now(), hurried_s=hurried_s(self._around.lease_s))
                self.gateways[place] = Gateway(place, self._sniffer_of(place.interface), reach, self._around.layouts)
            self.gateways[place].own = own
            self._sniffer_of(place.interface)

    def _miss(self, place: Place) -> None:
        link = self._links.get(place.interface)
        if link is None or link.fault():
            return  # the route went with the interface, and the gateway is surely not reached
        self._missing[place] = self._missing.get(place, 0) + 1
        if self._missing[place] >= LOOKS_UNTIL_GONE:
            del self._missing[place], self.gateways[place]
            self._sniffer_of(place.interface)

    def _places(self) -> tuple[dict[Place, str], str]:
        """Where a gateway is to be asked, and our own address towards it; why there is none."""
        if self._wanted.gateway != "auto":
            return self._written_place(ip_address(self._wanted.gateway))
        found: dict[Place, str] = {}
        without = []
        for interface in self._interfaces:
            link = self._links.get(interface)
            address = self._routes.gateway(link.index) if link is not None else None
            if link is None or address is None or address.packed in self._ours:
                without.append(interface)
                continue
            way = self._routes.way_to(address, index=link.index)
            found[Place(interface, address)] = self._own(way.source if way is not None else None)
        where = " and ".join(without)
        return found, f"no default route on {where}: write `gateway: ADDRESS` of a router there, or `gateway: off`"

    def _written_place(self, address: IpAddress) -> tuple[dict[Place, str], str]:
        scope = getattr(address, "scope_id", None)
        link = self._links.get(scope) if scope else None
        way = self._routes.way_to(address, index=link.index if link is not None else 0)
        if way is None or not way.is_direct:
            return {}, f"{address} is not on a link of this host: write the address of a neighbour"
        plain = ip_address(address.packed)  # without the interface's name
        return {Place(self._links.name_of(way.index), plain): self._own(way.source)}, ""

    def _own(self, source: IpAddress | None) -> str:
        """Not one that moves between nodes: the gateway would learn a wrong owner of it."""
        return "" if source is None or source.packed in self._ours else str(source)

    def _complain(self, text: str) -> None:
        if text and text != self.why_not_watched:
            self._note(Kind.UNWATCHED, f"the gateway is not watched: {text}")
        self.why_not_watched = text

    def _note(self, kind: Kind, text: str) -> None:
        self._around.note(kind, "", text)


def _now() -> float:
    return asyncio.get_running_loop().time()
