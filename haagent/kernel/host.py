"""This host as the activation sees it: a kernel that is asked, and listened to.

Links and addresses change, and we know in the same turn of the loop. The listening socket is in the multicast groups of
links and of both kinds of addresses. Our own changes come back to it too and are recognised by the port number of the
socket that asked; anything else that touches an address we care about (removed behind our back, added where it should
not be) makes us look again: what is gets compared with what should be, and the message is not believed further.

A full queue (ENOBUFS) means that messages were lost: everything is listed again. What is heard of a link meanwhile is
newer than the list.

What comes again and again, a look, a list and the renewal of lifetimes, is a worker's: while interfaces are taken down,
be it in somebody else's namespace, the kernel makes everybody wait who touches an address. What the core has decided is
done in the loop, and wins: it waits for the worker's question to be over, which the same lock of the kernel would make
it do in any case; renewals that have not begun are void then; and a look from before is done again.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from haagent.kernel import encoding, netlink
from haagent.kernel.addresses import Kernel
from haagent.kernel.facts import AddressError, Link, Seen, Vip
from haagent.kernel.layouts import Layouts
from haagent.kernel.sockets import widen
from haagent.kernel.worker import Worker

RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x10, 0x100
QUEUE_BYTES = 1 << 20  # about 1,000 messages: a container engine starting everything at once fits
BUDGET = 256  # datagrams read per turn, so that a flood of messages cannot starve the loop

AGAIN_S = 1.0  # until links are listed again when that failed

T = TypeVar("T")
Looked = Callable[[list[Seen] | AddressError], None]


class Host(Kernel):
    def __init__(self, layouts: Layouts) -> None:
        super().__init__()
        self._layouts = layouts
        self._watched: frozenset[bytes] = frozenset()
        self._looked: Looked = lambda _: None
        self._monitor: socket.socket | None = None
        self._worker: Worker | None = None
        self._lock = threading.RLock()  # of the socket, and of the order in which the kernel hears things
        self._is_urgent = False
        self._exchanges = 0
        self._must_look, self._must_list = threading.Event(), threading.Event()
        self._news: dict[int, Link | None] | None = None  # of links, by index, since a list was asked for
        self._due: dict[tuple[Vip, ...], tuple[Callable[[], int], Callable[[str], None]]] = {}

    def start(self, vips: Iterable[Vip], looked: Looked) -> None:
        """`looked` is given what `look` finds: when it was asked for, when somebody else touched one of the addresses,
        and when news of that may have been lost."""
        self._looked = looked
        self.open()
        self._listen()  # before listing, so that nothing falls in between
        self.load_links()
        self.watch(vips)
        self._worker = Worker(self._work, name="kernel")

    def watch(self, vips: Iterable[Vip]) -> None:
        vips = tuple(vips)
        self._prepared |= {vip: encoding.Prepared(vip, self._layouts) for vip in vips if vip not in self._prepared}
        self._watched = frozenset(vip.packed for vip in vips)

    def look(self) -> None:
        """Soon, and beside the loop."""
        self._must_look.set()
        if self._worker is not None:
            self._worker.ask()

    def renew(self, vips: Sequence[Vip], lifetime_s: Callable[[], int], told: Callable[[str], None]) -> None:
        """As `add`, soon and beside the loop. `lifetime_s` is asked then, and is 0 if it has become too late; `told` is
        given the fault, or an empty text."""
        self._due[tuple(vips)] = lifetime_s, told
        if self._worker is not None:
            self._worker.ask()

    def add(self, vips: Sequence[Vip], lifetime_s: int) -> None:
        with self._turn(vips):
            super().add(vips, lifetime_s)

    def remove(self, vips: Sequence[Vip]) -> None:
        with self._turn(vips):
            super().remove(vips)

    @contextmanager
    def _turn(self, vips: Sequence[Vip]) -> Iterator[None]:
        """The loop's, after what the worker is just at, and before all else that it was to do."""
        self._is_urgent = True
        try:
            with self._lock:
                for waiting in [each for each in tuple(self._due) if not set(each).isdisjoint(vips)]:
                    self._due.pop(waiting, None)
                yield
        finally:
            self._is_urgent = False
            if self._worker is not None and (self._due or self._must_look.is_set() or self._must_list.is_set()):
                self._worker.ask()

    def exchange(self, requests: Sequence[bytes]) -> list[tuple[int, str]]:
        with self._lock:
            self._exchanges += 1
            return super().exchange(requests)

    def listed(self, kind: int, body: bytes, *, wanted: int) -> list[bytes]:
        with self._lock:
            return super().listed(kind, body, wanted=wanted)

    # in the worker's thread

    def _work(self) -> None:
        assert self._worker is not None
        while self._due and not self._is_urgent:
            with self._lock:
                if told := self._renew_one():
                    self._worker.tell(*told)
        if self._must_look.is_set() and not self._is_urgent:
            self._must_look.clear()  # before: who asks meanwhile wants another one
            with self._lock:
                self._worker.tell(self._has_looked, self._exchanges, _or_fault(self.seen))
        if self._must_list.is_set() and not self._is_urgent:
            self._must_list.clear()
            news = self._news
            self._worker.tell(self._has_listed, news, _or_fault(self._list_links))

    def _renew_one(self) -> tuple[Callable[[str], None], str] | None:
        try:
            vips, (lifetime_s, told) = self._due.popitem()
        except KeyError:  # the loop has just decided otherwise
            return None
        try:
            if left_s := lifetime_s():
                super().add(vips, left_s)
        except AddressError as error:
            return told, str(error)
        return told, ""

    # in the loop

    def _has_looked(self, exchanges: int, found: list[Seen] | AddressError) -> None:
        if self._monitor is None:
            return
        if exchanges != self._exchanges:
            self.look()
        else:
            self._looked(found)

    def _has_listed(self, news: dict[int, Link | None] | None, found: list[Link] | AddressError) -> None:
        if self._monitor is None or news is None or news is not self._news:
            return  # messages were lost once more, or the list before this one was made late enough
        self._news = None
        if isinstance(found, AddressError):
            asyncio.get_running_loop().call_later(AGAIN_S, self._list_again)
            return
        known = {link.index: link for link in found} | news
        self.links.replace(link for link in known.values() if link is not None)
        self.look()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end()
        if self._monitor is not None:
            asyncio.get_running_loop().remove_reader(self._monitor)
            self._monitor.close()
            self._monitor = None
        with self._lock:
            super().close()

    def _listen(self) -> None:
        opened = netlink.open_socket(groups=RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        widen(opened, socket.SO_RCVBUF, QUEUE_BYTES)
        self._monitor = opened
        asyncio.get_running_loop().add_reader(opened, self._drain, opened)

    def _drain(self, opened: socket.socket) -> None:
        has_changed = False
        for datagram in netlink.arrived(opened, most=BUDGET):
            if datagram is None:
                self._list_again()
            else:
                has_changed |= self._read(datagram)
        if has_changed:
            self.look()

    def _read(self, datagram: bytes) -> bool:
        """Whether it tells of somebody else's change of an address that is watched."""
        has_changed = False
        for kind, _, _, port, message in netlink.split(datagram):
            if kind in (encoding.RTM_NEWADDR, encoding.RTM_DELADDR):
                has_changed |= port != self.port and encoding.read_address(message).packed in self._watched
            elif kind in (encoding.RTM_NEWLINK, encoding.RTM_DELLINK) and not message[netlink.HEADER.size]:
                # A family other than 0 is a bridge's word about its port: "deleted" there means "left the bridge".
                link = encoding.read_link(message)
                is_gone = kind == encoding.RTM_DELLINK
                if is_gone:
                    self.links.forget(link.index)
                else:
                    self.links.learn(link)
                if self._news is not None:
                    self._news[link.index] = None if is_gone else link
        return has_changed

    def _list_again(self) -> None:
        if self._worker is not None:
            self._news = {}
            self._must_list.set()
            self._worker.ask()


def _or_fault(asked: Callable[[], list[T]]) -> list[T] | AddressError:
    try:
        return asked()
    except AddressError as error:
        return error
