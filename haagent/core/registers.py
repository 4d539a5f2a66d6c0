"""Operators' orders as last-writer-wins registers, carried whole in every heartbeat.

An order given on any node reaches all of them, also those that join later, and the newest wins everywhere. Newest is
what has the highest version: the wall clock's milliseconds, or one more than the version that it replaces, if that is
higher. So an order given to a node that has just started, and knows of no earlier one, is not lost to that.
`standby/NODE` and `maintenance` are states and outlive a restart; `clear/GROUP` and `move/GROUP` are acts, done once by
whom they concern. `down/NODE` says that a node has been fenced, or that its plug was pulled; it is void as soon as the
node is heard, and is not remembered: nobody knows what happened while we were away.

Nobody can make an order that no other will ever replace: versions above what any clock says are taken over only step by
step (`LEAP` with each heartbeat), so that there is always room for one more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import msgspec

from haagent.core.limits import LEAP, MAX_BELIEVED
from haagent.core.membership import NEVER
from haagent.core.messages import Ballot, Order
from haagent.core.settings import Settings

MAINTENANCE = "maintenance"
LASTING = ("standby/", MAINTENANCE)
CREDIBLE_VERSION = 2**46  # milliseconds: in the year 4199


@dataclass
class Orders:
    _settings: Settings
    _orders: dict[str, Order] = field(default_factory=dict)
    _seen_at: dict[str, float] = field(default_factory=dict)
    _ceiling: int = CREDIBLE_VERSION  # what is above it is not taken over

    @classmethod
    def remembered(cls, settings: Settings, orders: Iterable[Order]) -> Self:
        self = cls(settings)
        self._orders = {
            order.key: order for order in orders if self._is_known(order.key) and order.version <= MAX_BELIEVED
        }
        return self

    def reconfigure(self, settings: Settings) -> None:
        self._settings = settings
        self._orders = {key: order for key, order in self._orders.items() if self._is_known(key)}

    def give(
        self,
        now: float,
        key: str,
        *,
        wall: float = 0.0,
        on: bool = True,
        target: str = "",
        ballot: Ballot | None = None,
        forced: bool = False,
        ttl_s: float = 0.0,
    ) -> None:
        replaced = self._orders[key].version if key in self._orders else 0
        version = max(replaced + 1, min(int(1000 * wall), CREDIBLE_VERSION))
        order = Order(key, version, self._settings.me, on, target, ballot, forced, ttl_ms=int(ttl_s * 1000))
        self._orders[key], self._seen_at[key] = order, now

    def merge(self, now: float, orders: Iterable[Order]) -> list[Order]:
        """Take over what is newer; what changed is returned."""
        orders = tuple(orders)
        highest = max((order.version for order in orders), default=0)
        self._ceiling = max(self._ceiling, min(highest, self._ceiling + LEAP, MAX_BELIEVED))
        changed = []
        for order in orders:
            mine = self._orders.get(order.key)
            is_incredible = order.version > self._ceiling or not self._is_known(order.key)
            if is_incredible or (mine and _stamp(mine) >= _stamp(order)):
                continue
            self._orders[order.key], self._seen_at[order.key] = order, now
            changed.append(order)
        return changed

    def _is_known(self, key: str) -> bool:
        """Keys come from the network: only nodes and groups of our configuration can be spoken of."""
        kind, _, name = key.partition("/")
        if kind in ("standby", "down"):
            return name in self._settings.voters
        if kind in ("clear", "move"):
            return any(group.name == name for group in self._settings.groups)
        return key == MAINTENANCE

    def to_send(self, now: float) -> tuple[Order, ...]:
        """All of them. A move travels with what is left of its time: it must not begin anew wherever it arrives."""
        return tuple(self._aged(now, self._orders[key]) for key in sorted(self._orders))

    def _aged(self, now: float, order: Order) -> Order:
        if not order.ttl_ms:
            return order
        age_s = now - self._seen_at.get(order.key, NEVER)
        return msgspec.structs.replace(order, ttl_ms=round(max(0.0, order.ttl_ms - 1000 * age_s)))

    @property
    def lasting(self) -> tuple[Order, ...]:
        return tuple(self._orders[key] for key in sorted(self._orders) if key.startswith(LASTING))

    @property
    def in_maintenance(self) -> bool:
        return self._is_on(MAINTENANCE)

    @property
    def is_unreserved(self) -> bool:
        """Who ended it last has vouched for the hosts that were not heard."""
        order = self._orders.get(MAINTENANCE)
        return order is not None and order.forced and not order.on

    def has_word(self, said: Iterable[Order]) -> bool:
        """Whoever says this has our word on maintenance, on or off."""
        mine, theirs = self._orders.get(MAINTENANCE), said_of_maintenance(said)
        return mine is None or (theirs is not None and theirs.on == mine.on and _stamp(theirs) >= _stamp(mine))

    def is_standby(self, node: str) -> bool:
        return self._is_on(f"standby/{node}")

    def is_down(self, node: str) -> bool:
        return self._is_on(f"down/{node}")

    def _is_on(self, key: str) -> bool:
        order = self._orders.get(key)
        return order is not None and order.on

    def cleared(self, group: str) -> int:
        """Version of the newest `clear`: failures older than it are forgotten."""
        order = self._orders.get(f"clear/{group}")
        return order.version if order else 0

    def move(self, now: float, group: str) -> Order | None:
        """The order to move `group`, while it has not gone stale."""
        key = f"move/{group}"
        order = self._orders.get(key)
        if order is None or not order.on:
            return None
        return order if now < self._seen_at.get(key, NEVER) + order.ttl_ms / 1000 else None


def said_of_maintenance(said: Iterable[Order]) -> Order | None:
    return next((order for order in said if order.key == MAINTENANCE), None)


def _stamp(order: Order) -> tuple[int, str]:
    return (order.version, order.writer)
