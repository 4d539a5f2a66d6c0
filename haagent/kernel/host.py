"""This host as the activation sees it: one request socket, one listening socket, the table of interfaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from haagent.kernel import encoding
from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import AddressError, Link, Seen, Vip
from haagent.kernel.layouts import Layouts
from haagent.kernel.links import Links
from haagent.kernel.monitor import Monitor


class Host:
    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._kernel = Kernel()
        self._watched: frozenset[bytes] = frozenset()
        self._changed: Callable[[], None] = lambda: None
        self._monitor = Monitor(
            is_own=lambda port: port == self._kernel.port,
            is_watched=lambda packed: packed in self._watched,
            link_heard=self._link_heard,
            addresses_changed=self._touched,
            lost=self._list_again,
        )
        self.resyncs = 0

    @property
    def links(self) -> Links:
        return self._kernel.links

    async def open(self, vips: Iterable[Vip], changed: Callable[[], None]) -> None:
        """`changed` is called when somebody else touched one of the addresses, or news of that may have been lost."""
        self._changed = changed
        self._kernel.open()
        self._monitor.open(asyncio.get_running_loop())  # before listing, so that nothing falls in between
        self._kernel.load_links()
        self.watch(vips)

    def watch(self, vips: Iterable[Vip]) -> None:
        vips = tuple(vips)
        for vip in vips:
            self._kernel.prepare(vip, self._layouts)
        self._watched = frozenset(vip.packed for vip in vips)

    def close(self) -> None:
        self._monitor.close()
        self._kernel.close()

    def add(self, vips: Sequence[Vip], lifetime_s: int) -> None:
        self._kernel.add(vips, lifetime_s)

    def remove(self, vips: Sequence[Vip]) -> None:
        self._kernel.remove(vips)

    def strike(self, seen: Seen) -> None:
        self._kernel.strike(seen)

    def seen(self) -> list[Seen]:
        return self._kernel.seen()

    def promote_secondaries(self, link: Link) -> None:
        self._kernel.promote_secondaries(link)

    def _link_heard(self, message: bytes, kind: int) -> None:
        link = encoding.read_link(message)
        if kind == encoding.RTM_DELLINK:
            self.links.forget(link.index)
        else:
            self.links.learn(link)

    def _touched(self) -> None:
        self._changed()

    def _list_again(self) -> None:
        self.resyncs += 1
        try:
            self._kernel.load_links()
        except AddressError:
            # The list could not be had now; the regular comparison asks again within two seconds.
            return
        self._changed()
