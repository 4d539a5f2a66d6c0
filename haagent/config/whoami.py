"""Which of the nodes is this host? Asked in the order of how plainly someone said so: `--node`, host name, addresses.

The same file is on every node, so the file cannot say it. Nothing is sent to find out.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from haagent.config.faults import quoted, suggestion
from haagent.config.kinds import Wrong

NONLOCAL = "/proc/sys/net/{}/ip_nonlocal_bind"


def find_me(nodes: Mapping[str, Iterable[str]], *, node: str | None) -> str:
    """`nodes`: name to its own addresses. Raises `Wrong`."""
    if node is not None:
        if node in nodes:
            return node
        raise Wrong(f"{quoted(node)}, said with --node, is not a node", suggestion(node, nodes))
    host = socket.gethostname()
    by_name = named_like(host, nodes)
    if len(by_name) == 1:
        return by_name[0]
    by_address = [name for name, addresses in nodes.items() if any(owns(address) for address in addresses)]
    if len(by_address) == 1:
        return by_address[0]
    hint = "say which one with `--node NAME`"
    if by_name or by_address:
        several = ", ".join(by_name or by_address)
        raise Wrong(f"this host ({host}) could be any of {several}", hint)
    message = f"this host ({host}) is none of the nodes {', '.join(nodes)}: neither its name nor an address is here"
    raise Wrong(message, f"{hint}, or name the node like its host")


def named_like(host: str, names: Iterable[str]) -> list[str]:
    """The full name first, then the short one; host names have no case."""
    full, known = host.lower(), list(names)
    exact = [name for name in known if name.lower() == full]
    short = full.split(".")[0]
    return exact or [name for name in known if short and name.lower().split(".")[0] == short]


def owns(address: str) -> bool:
    """Does this host have the address? Unless told otherwise, the kernel binds sockets to its own addresses only."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        where = socket.getaddrinfo(address, 0, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if not _binds_anything(family):
                probe.bind(where)
                return True
            # ip_nonlocal_bind is usual beside keepalived and HAProxy, and makes bind() prove nothing. Connecting a
            # datagram socket sends nothing, and towards oneself the kernel picks the very address as the source;
            # only for the second address of a subnet it picks the first, and then the operator has to say --node.
            probe.connect((where[0], 9, *where[2:]))
            return bool(probe.getsockname()[0] == where[0])
    except OSError:
        return False


def _binds_anything(family: socket.AddressFamily) -> bool:
    switch = Path(NONLOCAL.format("ipv6" if family == socket.AF_INET6 else "ipv4"))
    try:
        return switch.read_text().strip() != "0"
    except OSError:
        return False
