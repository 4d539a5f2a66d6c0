"""The wiring: a bridge per link in the switch, a cable from each host to it, addresses on the hosts.

Everything is handed to `ip -batch`, one call per namespace, so that a lab of four hosts stands in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping

from haagent.lab.plan import CLIENT, OBSERVER4, OBSERVER6, Host, Plan

GATEWAY4 = "10.20.1.1"  # the client host: the way out, as far as the nodes can tell


def switch_script(plan: Plan, pids: Mapping[str, int]) -> str:
    """Bridges and cables; each cable's other end appears in its host at once. IPv6 off: a switch is no host."""
    lines: list[str] = []
    for link in plan.links:
        bridge = link.replace("eth", "br")
        # no snooping: nobody here answers as a multicast querier, and groups must reach everybody from the start
        lines.append(f"link add {bridge} type bridge mcast_snooping 0 stp_state 0")
        lines.append(f"link set {bridge} up")
    for host in plan.hosts:
        for port in host.ports:
            far = f"name {port.link} address {port.mac} netns {pids[host.name]}"
            lines.append(f"link add {port.cable} type veth peer {far}")
            lines.append(f"link set {port.cable} master {port.bridge} up")
    settings = _sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    return f"{settings}\n{_batch(lines)}"


def host_script(host: Host, *, client: Host) -> str:
    """The host's own answers are recognised by their TTL; its addresses are usable at once (no DAD)."""
    settings = [_sysctl("net/ipv4/ip_default_ttl", host.ttl)]
    for interface in ("all", "default", *(port.link for port in host.ports)):
        for name, value in (("hop_limit", host.ttl), ("accept_dad", 0), ("dad_transmits", 0), ("accept_ra", 0)):
            settings.append(_sysctl(f"net/ipv6/conf/{interface}/{name}", value))
    return "\n".join([*settings, _batch(_addresses(host, client))])


def reboot_script(host: Host, *, client: Host) -> str:
    """What a crashed host would have lost: every address, rule and route that is not its own."""
    flush = [
        line for port in host.ports for line in (f"link set dev {port.link} down", f"address flush dev {port.link}")
    ]
    return f"nft flush ruleset\n{_batch([*flush, *_addresses(host, client)])}"


def _addresses(host: Host, client: Host) -> list[str]:
    lines: list[str] = []
    for port in host.ports:
        lines.append(f"address replace {port.ipv4} dev {port.link}")
        if port.ipv6:
            lines.append(f"address replace {port.ipv6} dev {port.link} nodad")
        lines.append(f"link set {port.link} up")
    observers = [OBSERVER4, OBSERVER6] if host.ports[0].ipv6 else [OBSERVER4]
    if host.name == CLIENT:
        # deprecated from the start: never the source of anything but direct probes
        return lines + [f"address replace {one} dev eth0 preferred_lft 0" for one in observers]
    mac = client.ports[0].mac
    lines += [f"neigh replace {one} lladdr {mac} dev eth0 nud permanent" for one in observers]
    return [*lines, f"route replace default via {GATEWAY4} dev eth0"]


def _batch(lines: list[str]) -> str:
    body = "\n".join(lines)
    return f"ip -batch - <<'EOF'\n{body}\nEOF"


def _sysctl(path: str, value: int) -> str:
    """Left alone where this kernel lacks it (IPv6 may be missing altogether)."""
    return f"[ ! -e /proc/sys/{path} ] || echo {value} > /proc/sys/{path}"
