"""What the kernel is told of addresses, written by pyroute2. Only the composer's process loads this.

Link index, sequence number and lifetime are zero; `encoding` writes them in.
"""

from __future__ import annotations

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from haagent.address.encoding import AF_INET, AF_INET6, RTM_DELADDR, RTM_NEWADDR
from haagent.address.facts import TAG
from haagent.netlink import ACK, CREATE, REPLACE, REQUEST


def adding(address: str, prefix: int, label: str, flags: int) -> bytes:
    """`flags`: of IPv6, else 0."""
    attributes: list[tuple[str, object]] = [("IFA_PROTO", TAG)]
    if label:
        attributes.append(("IFA_LABEL", label))
    if flags:
        attributes.append(("IFA_FLAGS", flags))
    attributes.append(("IFA_CACHEINFO", {"ifa_preferred": 0, "ifa_valid": 0}))
    return _encoded(RTM_NEWADDR, REQUEST | ACK | CREATE | REPLACE, address, prefix, attributes)


def removing(address: str, prefix: int) -> bytes:
    return _encoded(RTM_DELADDR, REQUEST | ACK, address, prefix, [])


def _encoded(kind: int, flags: int, address: str, prefix: int, attributes: list[tuple[str, object]]) -> bytes:
    message = ifaddrmsg()
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message["family"] = AF_INET6 if ":" in address else AF_INET
    message["prefixlen"] = prefix
    message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address), *attributes]
    message.encode()
    return bytes(message.data)


COMPOSERS = (adding, removing)
