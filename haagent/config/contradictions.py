"""What no single value can be blamed for: timings that cannot work, names of nobody, one address with two owners.

Runs on what could be read, even when other values were refused, so that one run reports everything. A check is skipped
only when a value it needs was refused itself: one mistake should be one fault.
"""

from __future__ import annotations

import ipaddress

from haagent.config.coordination import PATIENCE, USUAL_LEASE_S, etcd_section, find_coordination_contradictions
from haagent.config.durations import format_duration
from haagent.config.faults import quoted, suggestion
from haagent.config.kinds import Found, host_and_port
from haagent.config.listeners import find_collisions
from haagent.config.place import Place
from haagent.config.schema import Draft
from haagent.config.sessions import find_session_contradictions
from haagent.core.limits import MAX_ADDRESSES
from haagent.core.settings import LEADER

LEAST_LEASE = 2.5  # intervals. The detector waits 0.86 leases: below this one lost heartbeat would be a death
USUAL_LEASE = 3.5  # one lost heartbeat is harmless with room for delay
LEAST_ALONE_S = 5.0
PROBE_KINDS = ("tcp", "http", "icmp")
SAID_BY_US = ("action", "option", "nodename")  # to a fence agent
FEW = 3  # voters: below this a majority is everybody, and any loss would stop `consistent`


def fill_in(top: Draft) -> None:
    """What follows from other options, where the file does not say it. What follows from a refused one stays open."""
    heartbeat, etcd = top.get("heartbeat"), etcd_section(top)
    nodes = top.sections("nodes")
    interval = heartbeat.get("interval")
    if interval is not None:
        # Rounded to a microsecond: 3.5 x 100ms is 350ms, not 350.00000000000006ms.
        usual = round(USUAL_LEASE * interval, 6)
        heartbeat.fill("lease", usual if etcd is None else max(usual, USUAL_LEASE_S))
    if heartbeat.get("transport") == "unicast":
        heartbeat.fill("group", "")
    if heartbeat.get("insecure"):
        top.fill("key_file", ())
    lease = heartbeat.get("lease")
    if lease is not None:
        top.fill("alone_after", max(LEAST_ALONE_S, 2 * lease))
        if etcd is not None:
            etcd.fill("timeout", lease / PATIENCE)
        guards = top.section("guards")
        probe = guards.section("probe") if guards else None
        if probe is not None:
            probe.fill("timeout", lease / 2)
    top.fill("on_partition", "consistent" if len(nodes) >= FEW or etcd is not None else "available")
    for node in nodes.values():
        place = node.place.below("address")
        if place is not None and node.get("address"):
            node.fill("addresses", (Found(node.get("address"), place),))
    for group in top.sections("groups").values():
        group.fill("interface", next(iter(heartbeat.values("interfaces")), None))


def find_contradictions(top: Draft) -> None:
    heartbeat = top.get("heartbeat")
    nodes, groups = top.sections("nodes"), top.sections("groups")
    _timing(top, heartbeat)
    find_coordination_contradictions(top, heartbeat.get("lease"))
    _transport(heartbeat)
    if heartbeat.get("insecure") and top.written("key_file"):
        heartbeat.refuse("insecure", "`true`, and yet there is a `key_file`", "remove one of them")
    _http(top.section("http"))
    find_session_contradictions(top)
    find_collisions(top)
    if heartbeat.get("transport") in ("unicast", "both"):
        _unicast_addresses(nodes, heartbeat)
    _voters(top, nodes)
    _address_owners(nodes, groups)
    _outside(top.section("guards"), groups)
    for node in nodes.values():
        _fencing(node)
    for name, group in groups.items():
        if name == LEADER:
            group.place.refuse(f"`{LEADER}` is the name of the built-in group", "choose another name")
        _interface(group, heartbeat)
        _preference(group, nodes)


def _timing(top: Draft, heartbeat: Draft) -> None:
    interval, lease, alone = heartbeat.get("interval"), heartbeat.get("lease"), top.get("alone_after")
    if interval is None or lease is None:
        return
    least = LEAST_LEASE * interval
    if lease < least - 1e-9:
        heartbeat.refuse(
            "lease",
            f"{format_duration(lease)} is too short for an interval of {format_duration(interval)}",
            f"write at least {format_duration(least)} (2.5 x interval), or leave it out for "
            f"{format_duration(USUAL_LEASE * interval)}",
        )
    elif alone is not None and alone < lease - 1e-9:
        top.refuse(
            "alone_after",
            f"{format_duration(alone)} is shorter than the lease of {format_duration(lease)}",
            f"write at least {format_duration(lease)}: whoever waits less may not have heard a living holder yet",
        )


def _transport(heartbeat: Draft) -> None:
    transport = heartbeat.get("transport")
    if transport == "unicast" and heartbeat.written("group"):
        heartbeat.refuse("group", "unicast has no multicast group", "remove it, or write `transport: multicast`")
    if transport in ("multicast", "both") and not heartbeat.written("interfaces"):
        heartbeat.refuse(
            "interfaces", "missing, and multicast needs it", "write `interfaces: [eth0]`, or `transport: unicast`"
        )


def _http(http: Draft | None) -> None:
    listen = http.get("listen") if http is not None else None
    if http is None or listen is None:
        return
    if not http.get("token_file") and not host_and_port(listen).address.is_loopback:
        http.refuse(
            "listen",
            f"{listen} is not on the loopback, and anybody there could read it",
            "name a `token_file` too, or write `127.0.0.1:7266`",
        )


def _unicast_addresses(nodes: dict[str, Draft], heartbeat: Draft) -> None:
    """Link n runs between the n-th addresses of two nodes, so these must be there and of one family."""
    written = {name: node.values("addresses") for name, node in nodes.items()}
    links = len(heartbeat.values("interfaces"))
    for name, node in nodes.items():
        if not written[name] and not node.written("address") and not node.written("addresses"):
            node.refuse("address", "missing, and unicast needs it", "write `address: 10.20.1.10`")
        elif links > 1 and 0 < len(written[name]) != links:
            node.refuse(
                "addresses",
                f"has {len(written[name])}, but heartbeat.interfaces has {links}",
                "write one for each interface, in the same order",
            )
    most = max(written.values(), key=len, default=())
    for name, node in nodes.items():
        if links <= 1 and 0 < len(written[name]) < len(most):
            message = f"has {len(written[name])}, another node has {len(most)}"
            node.refuse("addresses", message, "write as many for every node")
        for found, other in zip(node.get("addresses") or (), most, strict=False):
            if (":" in found.value) != (":" in other):
                message = f"{found.value} cannot talk to {other} of another node"
                found.place.refuse(message, "write IPv4 and IPv6 in the same order")


def _voters(top: Draft, nodes: dict[str, Draft]) -> None:
    if nodes and all(node.get("witness") for node in nodes.values()):
        top.refuse(
            "nodes", "all nodes are witnesses, so no node may hold a group", "remove `witness: true` from one or two"
        )
    if top.get("on_partition") == "consistent" and 0 < len(nodes) < FEW and etcd_section(top) is None:
        top.refuse(
            "on_partition",
            f"`consistent` needs three voters, and there {'is one' if len(nodes) == 1 else 'are two'}",
            "add a node with `witness: true`, or `coordination`, or write `on_partition: available`",
        )


def _address_owners(nodes: dict[str, Draft], groups: dict[str, Draft]) -> None:
    """One owner for each address, be it a node or a group."""
    owners: dict[object, str] = {}
    loopback: dict[bool, Place] = {}
    for name, node in nodes.items():
        if node.written("address") and node.written("addresses"):
            node.refuse("addresses", "`address` is there too", "put all addresses into `addresses`")
        for found in node.get("addresses") or ():
            address = ipaddress.ip_address(found.value)
            loopback.setdefault(address.is_loopback, found.place)
            if owners.setdefault(address, name) != name:
                message = f"{found.value} is the address of node {owners[address]} too"
                found.place.refuse(message, "give every node its own")
    if len(loopback) > 1:  # all of them on one machine is a test; some of them is a mistake
        loopback[True].refuse("a loopback address, which the other nodes cannot reach", "write the node's own address")
    _group_addresses(groups, owners)


def _group_addresses(groups: dict[str, Draft], of_nodes: dict[object, str]) -> None:
    seen: dict[object, tuple[str, object]] = {}
    for name, group in groups.items():
        for found in group.get("addresses") or ():
            address = found.value.ip
            owner, written = seen.setdefault(address, (name, found.value))
            if address in of_nodes:
                hint = "a group needs an address that no node has"
                found.place.refuse(f"{address} is the own address of node {of_nodes[address]}", hint)
            elif owner != name:
                found.place.refuse(f"{address} is in group {owner} too", "an address belongs to one group")
            elif written != found.value:
                found.place.refuse(f"{address} is in the list twice, also as {written}", "remove one of them")
    if len(seen) > MAX_ADDRESSES:
        most = f"{MAX_ADDRESSES} are possible in one cluster"
        group.refuse("addresses", f"all groups together have {len(seen)} addresses", most)


def _outside(guards: Draft | None, groups: dict[str, Draft]) -> None:
    if guards is None:
        return
    gateway = guards.get("gateway")
    for name, group in groups.items():
        if gateway and gateway in {str(found.value.ip) for found in group.get("addresses") or ()}:
            guards.refuse("gateway", f"{gateway} is an address of group {name}", "write the address of a router")
    probe = guards.section("probe")
    if probe is None:
        return
    kinds = [kind for kind in PROBE_KINDS if probe.written(kind)]
    if len(kinds) > 1:
        probe.refuse(kinds[1], f"there is `{kinds[0]}` too", "remove one of them: one third party is asked")
    elif not kinds:
        probe.place.refuse("it does not say what to ask", 'write `{tcp: "10.0.0.1:443"}`')


def _fencing(node: Draft) -> None:
    fencing = node.section("fencing")
    if fencing is None:
        return
    if node.get("witness"):
        node.refuse("fencing", "a witness never holds anything, so nobody has to fence it", "remove it")
    for name, _ in fencing.get("options") or ():
        if name in SAID_BY_US:
            hint = "write `action:` beside `agent:`" if name != "nodename" else "remove it: it is the node's name"
            fencing.refuse("options", f"`{name}` is said by haagent itself", hint)


def _interface(group: Draft, heartbeat: Draft) -> None:
    if group.written("interface"):
        return
    if heartbeat.written("interfaces"):
        names = list(dict.fromkeys(heartbeat.values("interfaces")))
        if len(names) > 1:
            several = ", ".join(names)
            group.refuse("interface", f"missing, and heartbeat.interfaces has several: {several}", "write which one")
    elif heartbeat.get("transport") == "unicast":
        # With multicast the missing heartbeat.interfaces has been reported; it would answer this too.
        group.refuse("interface", "missing", "write `interface: eth0`")


def _preference(group: Draft, nodes: dict[str, Draft]) -> None:
    holders = [name for name, node in nodes.items() if not node.get("witness")]
    preferred = set(group.values("prefer"))
    for found in (*(group.get("prefer") or ()), *(group.get("never") or ())):
        if found.value not in nodes:
            found.place.refuse(f"{quoted(found.value)} is not a node", suggestion(found.value, holders))
        elif found.value not in holders:
            found.place.refuse(f"{found.value} is a witness and never holds", "remove it: " + ", ".join(holders))
    for found in group.get("never") or ():
        if found.value in preferred and found.value in holders:
            found.place.refuse(f"{found.value} is in `prefer` too", "remove it from one of them")
    if holders and set(holders) <= set(group.values("never")) - preferred:
        group.refuse("never", "it names every node that may hold, so no node may", "leave out one of them")
    if group.get("failback") is not None and not group.written("prefer"):
        group.refuse("failback", "there is no node to go back to", "write `prefer: [...]`, or `failback: manual`")
