"""The interfaces of this host as the kernel last told them, and who wants to hear of a change.

Callbacks run at once, inside the reading of the netlink message that brought the news: a lost carrier is known to the
core in the same turn of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from haagent.kernel.facts import Link

Heard = Callable[[Link | None], None]


class Links:
    def __init__(self) -> None:
        self._by_index: dict[int, Link] = {}
        self._by_name: dict[str, Link] = {}
        self._subscribers: dict[str, list[Heard]] = {}

    def get(self, name: str) -> Link | None:
        return self._by_name.get(name)

    def name_of(self, index: int) -> str:
        link = self._by_index.get(index)
        return link.name if link else f"interface number {index}"

    def has_mac(self, mac: bytes) -> bool:
        """One of this host's own interfaces."""
        return any(link.mac == mac for link in self._by_index.values())

    def subscribe(self, name: str, heard: Heard) -> Callable[[], None]:
        """Calls `heard` on every change of the interface (None: it does not exist). Returns what ends that."""
        self._subscribers.setdefault(name, []).append(heard)
        return lambda: self._subscribers[name].remove(heard)

    def learn(self, link: Link) -> None:
        before = self._by_index.get(link.index)
        if before == link:
            return
        if before is not None and before.name != link.name:
            self._vanish(before)
        self._by_index[link.index] = link
        self._by_name[link.name] = link
        self._tell(link.name, link)

    def forget(self, index: int) -> None:
        link = self._by_index.pop(index, None)
        if link is not None:
            self._vanish(link)

    def replace(self, links: Iterable[Link]) -> None:
        """The whole truth, after messages were lost."""
        known = {link.index: link for link in links}
        for index in set(self._by_index) - set(known):
            self.forget(index)
        for link in known.values():
            self.learn(link)

    def _vanish(self, link: Link) -> None:
        # A new interface may already have taken the name: then the old one's end is no news.
        current = self._by_name.get(link.name)
        if current is not None and current.index == link.index:
            del self._by_name[link.name]
            self._tell(link.name, None)

    def _tell(self, name: str, link: Link | None) -> None:
        for heard in tuple(self._subscribers.get(name, ())):
            heard(link)
