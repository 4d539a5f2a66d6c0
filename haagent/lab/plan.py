"""What a lab consists of: hosts, cables, addresses. Pure values, nothing is touched here.

Every host differs from the others in one thing that a client can see: its default TTL (IPv4) and hop limit (IPv6).
A, B, C send 64, 63, 62, ... and all are on one link, where nothing counts them down; so an echo reply for the
floating address tells *who* answered, without asking anybody who should know.
"""

from __future__ import annotations

import string

import msgspec

from haagent.lab.errors import LabError

CLIENT = "client"
SWITCH = "switch"
# The client again, for direct probes. Every node knows its MAC beforehand: a node that had to ask for it would do so
# in the name of the floating address, and thereby change what the client believes about who has it.
OBSERVER4 = "10.20.1.2"
OBSERVER6 = "fd00:20::2"
VIP4 = "10.20.1.100"
VIP6 = "fd00:20::100"
MAX_HOSTS = 9  # hosts get .10 to .18, far from the client at .1 and the floating address at .100


class Port(msgspec.Struct, frozen=True):
    """One interface of a host and the cable from it to a bridge of the switch."""

    host: str
    link: str  # the interface in the host: eth0 or eth1
    mac: str
    ipv4: str
    ipv6: str  # empty when this kernel has no IPv6

    @property
    def cable(self) -> str:
        """The switch's end. At most 15 characters, as the kernel wants interface names."""
        return f"{self.host}-{self.link}"

    @property
    def bridge(self) -> str:
        return self.link.replace("eth", "br")


class Host(msgspec.Struct, frozen=True):
    name: str
    ttl: int
    ports: tuple[Port, ...]
    runs_agent: bool = True
    witness: bool = False

    @property
    def address(self) -> str:
        return self.ports[0].ipv4.partition("/")[0]

    def port(self, link: str) -> Port:
        for port in self.ports:
            if port.link == link:
                return port
        raise LabError(f"{self.name} has no link {link}; it has {', '.join(port.link for port in self.ports)}")


class Plan(msgspec.Struct, frozen=True):
    hosts: tuple[Host, ...]  # the nodes, the spare ones, then the client
    links: tuple[str, ...]
    vips: tuple[str, ...]

    @property
    def nodes(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.runs_agent)

    @property
    def servers(self) -> tuple[Host, ...]:
        """Whoever might answer for a floating address."""
        return tuple(host for host in self.hosts if host.name != CLIENT)

    @property
    def client(self) -> Host:
        return self.host(CLIENT)

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"there is no host `{name}` in this lab; it has {known}")

    def node(self, name: str) -> Host:
        host = self.host(name)
        if not host.runs_agent:
            raise LabError(f"no agent runs on `{name}`; choose one of {', '.join(n.name for n in self.nodes)}")
        return host

    def name_of_ttl(self, ttl: int) -> str:
        for host in self.hosts:
            if host.ttl == ttl:
                return host.name
        return f"ttl {ttl}"


def draw(*, nodes: int, has_witness: bool = False, spares: int = 0, links: int = 1, has_ipv6: bool = True) -> Plan:
    """The plan of a lab with `nodes` hosts that may hold, one that only votes if asked for, hosts that are no nodes,
    and a client."""
    if not 1 <= nodes + has_witness + spares <= MAX_HOSTS:
        raise LabError(f"a lab has 1 to {MAX_HOSTS} nodes, the witness included")
    if links not in (1, 2):
        raise LabError("a host has 1 or 2 links")
    letters = string.ascii_uppercase
    names = [*letters[:nodes], *(["W"] if has_witness else []), *letters[nodes : nodes + spares]]
    link_names = tuple(f"eth{index}" for index in range(links))
    hosts = [
        Host(
            name=name,
            ttl=64 - index,
            ports=tuple(_port(name, link, 10 + index, has_ipv6=has_ipv6) for link in link_names),
            runs_agent=index < nodes + has_witness,
            witness=name == "W",
        )
        for index, name in enumerate(names)
    ]
    hosts.append(Host(name=CLIENT, ttl=128, ports=(_port(CLIENT, "eth0", 1, has_ipv6=has_ipv6),), runs_agent=False))
    return Plan(hosts=tuple(hosts), links=link_names, vips=(VIP4, VIP6) if has_ipv6 else (VIP4,))


def _port(host: str, link: str, number: int, *, has_ipv6: bool) -> Port:
    network = int(link.removeprefix("eth"))
    ipv6_network = "fd00:20::" if network == 0 else f"fd00:20:0:{network}::"
    return Port(
        host=host,
        link=link,
        mac=f"02:00:0a:14:{network + 1:02x}:{number:02x}",  # locally administered; the last bytes say 10.20.N.n
        ipv4=f"10.20.{network + 1}.{number}/24",
        ipv6=f"{ipv6_network}{number}/64" if has_ipv6 else "",
    )
