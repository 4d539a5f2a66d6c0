"""Asking the kernel: add, renew, remove and list addresses over one netlink socket that stays open.

Messages to add are written ahead of need; `haagent.kernel.encoding` says how and why.

A VIP may be the first address of its subnet on an interface ("primary"); when the kernel removes a primary it
takes the others of the subnet along, the host's own included, unless `promote_secondaries` is set. We set it on
every interface that carries our IPv4 addresses, and leave it set.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from haagent.kernel import encoding
from haagent.kernel.encoding import Prepared
from haagent.kernel.facts import AddressError, Link, Seen, Vip
from haagent.kernel.links import Links
from haagent.kernel.netlink import HEADER, Inquirer

GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO})


class Kernel(Inquirer):
    def __init__(self) -> None:
        super().__init__()
        self.links = Links()
        self._prepared: dict[Vip, Prepared] = {}  # what `add` and `remove` send
        self._own: set[tuple[int, int, int]] = set()  # subnets of the host's own IPv6 addresses

    def add(self, vips: Sequence[Vip], lifetime_s: int) -> None:
        """Add, or renew: the kernel lets them go `lifetime_s` seconds from now. All are tried, then faults raised."""
        answers = self._add(vips, lifetime_s, is_fresh=False)
        if any(code == errno.ENODEV for code, _ in answers):
            # The interface was made anew and the news has not been read yet: ask for its number and try once more.
            answers = self._add(vips, lifetime_s, is_fresh=True)
        faults = []
        for vip, (code, text) in zip(vips, answers, strict=True):
            if code == errno.ENODEV:
                raise AddressError(f"{vip.interface} does not exist")
            if code:
                faults.append(f"cannot add {vip}: {_reason(code, text)}")
        if faults:
            raise AddressError("; ".join(faults))

    def _add(self, vips: Sequence[Vip], lifetime_s: int, *, is_fresh: bool) -> list[tuple[int, str]]:
        requests = []
        for vip in vips:
            link = None if is_fresh else self.links.get(vip.interface)
            try:
                index = link.index if link else socket.if_nametoindex(vip.interface)
            except OSError:
                raise AddressError(f"{vip.interface} does not exist") from None
            requests.append(self._prepared[vip].add(index=index, lifetime_s=lifetime_s, own=self._own))
        return self.exchange(requests)

    def remove(self, vips: Sequence[Vip]) -> None:
        """Afterwards no interface of this host has any of them, whoever added it and with whatever prefix."""
        found = [(vip, self.links.get(vip.interface)) for vip in vips]
        requests = [self._prepared[vip].remove(index=link.index) for vip, link in found if link is not None]
        self.exchange(requests)  # a refusal is judged below, by what is left
        unwanted = [vip.packed for vip in vips]
        for message in self._list_addresses():
            # Reading a message takes longer than searching it, and what is searched for is normally not there.
            if any(packed in message for packed in unwanted):
                seen = encoding.read_address(message)
                if seen.packed in unwanted:
                    self.strike(seen)

    def strike(self, seen: Seen) -> None:
        """Remove exactly this address. Already gone is fine."""
        self._change(encoding.removing(seen.raw), f"remove {seen} from {self.links.name_of(seen.index)}")

    def seen(self) -> list[Seen]:
        """Every IPv4 and IPv6 address of this host, on all interfaces."""
        found = [encoding.read_address(message) for message in self._list_addresses()]
        self._own = {encoding.subnet(seen.index, seen.packed, seen.prefix) for seen in found if _is_own_v6(seen)}
        return found

    def _list_addresses(self) -> list[bytes]:
        found = self.listed(encoding.RTM_GETADDR, encoding.EVERY_ADDRESS, wanted=encoding.RTM_NEWADDR)
        return [message for message in found if message[HEADER.size] in (encoding.AF_INET, encoding.AF_INET6)]

    def load_links(self) -> None:
        self.links.replace(self._list_links())

    def _list_links(self) -> list[Link]:
        found = self.listed(encoding.RTM_GETLINK, encoding.EVERY_LINK, wanted=encoding.RTM_NEWLINK)
        return [encoding.read_link(message) for message in found]

    def promote_secondaries(self, link: Link) -> None:
        self._change(encoding.promoting(link.index), f"set promote_secondaries on {link.name}")

    def _change(self, request: bytes, what: str) -> None:
        ((code, text),) = self.exchange([request])
        if code and code not in GONE:
            raise AddressError(f"cannot {what}: {_reason(code, text)}")


def _is_own_v6(seen: Seen) -> bool:
    return len(seen.packed) == 16 and seen.prefix < 128 and not seen.is_ours


def _reason(code: int, text: str) -> str:
    words = os.strerror(code)
    if code == errno.EPERM:
        words += " (CAP_NET_ADMIN is needed: run as root)"
    elif code == errno.EACCES:
        words += " (is IPv6 switched off there? see net.ipv6.conf.*.disable_ipv6)"
    return f"{text} ({words})" if text else words
