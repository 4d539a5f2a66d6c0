"""What is known of this host's links and addresses: values only, cheap to import.

`TAG` marks an address as ours (IFA_PROTO, Linux 5.18 and later; `ip address` prints it as `proto 0xa7`). The kernel
itself uses 1 to 3, and other programs put their routing protocol number there (18: keepalived); 0xa7 is free. On an
older kernel an IPv4 address of ours is known by its label (`eth0:ha`) and an IPv6 address only by being configured.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

import msgspec

from haagent.kernel.netlink import Refused

TAG = 0xA7
LABEL_SUFFIX = ":ha"
MAX_LABEL = 15  # IFNAMSIZ less the closing zero

IpInterface = IPv4Interface | IPv6Interface
IpAddress = IPv4Address | IPv6Address


AddressError = Refused  # its text names the address, the interface and the cause


class Vip(msgspec.Struct, frozen=True):
    """One address that a group floats between nodes, and the interface it belongs on."""

    address: IpInterface
    interface: str

    @property
    def packed(self) -> bytes:
        return self.address.ip.packed

    @property
    def prefix(self) -> int:
        return int(self.address.network.prefixlen)

    @property
    def label(self) -> str:
        """Empty where there is none: IPv6 has no labels, and a long interface name leaves no room for one."""
        label = self.interface + LABEL_SUFFIX
        return label if self.address.version == 4 and len(label) <= MAX_LABEL else ""

    def __str__(self) -> str:
        return f"{self.address} on {self.interface}"


class Seen(msgspec.Struct, frozen=True):
    """An address that the kernel reported. `raw` is the kernel's own message, good for naming it in a removal."""

    packed: bytes
    prefix: int
    index: int
    tag: int
    label: str
    raw: bytes

    @property
    def is_ours(self) -> bool:
        return self.tag == TAG or self.label.endswith(LABEL_SUFFIX)

    @property
    def address(self) -> IpAddress:
        return ip_address(self.packed)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


class Link(msgspec.Struct, frozen=True):
    """A network interface."""

    index: int
    name: str
    mac: bytes
    is_up: bool  # the administrator's switch
    has_carrier: bool
    is_ethernet: bool  # and not a loopback: ARP and neighbour discovery are spoken on it

    def fault(self) -> str:
        """Why nothing can be served on it; empty when it can."""
        if not self.is_up:
            return f"{self.name} is down"
        return "" if self.has_carrier else f"{self.name} has no carrier"
