"""Every section of the configuration file: what can be written, and what the rest of the agent sees.

One struct a section, one field an option (schema.py says how). They are frozen, complete and free of contradictions:
what follows from other options is filled in by contradictions.py before a struct is made.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar

import msgspec

from haagent import __version__
from haagent.config.coordination import USUAL_LEASE_S, CoordinationConfig
from haagent.config.document import Mapping, Scalar
from haagent.config.durations import format_duration
from haagent.config.kinds import (
    GATEWAY,
    GROUP_ADDRESS,
    HOST_AND_PORT,
    HOST_URL,
    MULTICAST,
    NAME,
    NETWORK,
    NODE_ADDRESS,
    OWN_ADDRESS_AND_PORT,
    PATH,
    PORT,
    PROGRAM,
    Interface,
    Kind,
    choice,
    duration,
    list_of,
    texts,
)
from haagent.config.place import Place
from haagent.config.plugins import BACKENDS, CHECKS, CheckConfig, PluginConfig, plug_in
from haagent.config.schema import Given, Option, Section, named, section
from haagent.config.sessions import SessionsConfig
from haagent.core.limits import MAX_GROUPS, MAX_NODES
from haagent.core.messages import Outline
from haagent.core.settings import LEADER, GroupSettings, NodeSettings, Settings


class FencingConfig(Section, frozen=True):
    """How a node is made sure to be down. The options may be secret: they are in no `repr`, and so in no log."""

    agent: Annotated[
        str, PROGRAM, Option("a fence agent: a program with the interface of `fence_*`", example="fence_ipmilan")
    ]
    options: Annotated[
        tuple[tuple[str, str], ...],
        texts("agent options"),
        Option("what the agent is told, on its standard input", example="{ip: 10.9.0.1, username: admin}"),
    ] = ()
    options_file: Annotated[
        str, PATH, Option("more options, a line `name=value` each, in a file guarded like the key: for passwords")
    ] = ""
    action: Annotated[str, choice("off", "reboot"), Option("what is done to the node")] = "off"
    timeout_s: Annotated[float, duration("1s", "10m"), Option("an agent that runs longer is killed")] = 30.0

    def __repr__(self) -> str:
        return f"FencingConfig(agent={self.agent!r}, action={self.action!r}, timeout_s={self.timeout_s!r}, ...)"


class NodeConfig(Section, frozen=True, kw_only=True):
    name: Annotated[str, Given]
    address: Annotated[
        str,
        NODE_ADDRESS,
        Option("the node's own address on the link; needed for `unicast` and `both`", example="10.20.1.10"),
    ] = ""  # as written: `addresses` has it as well
    addresses: Annotated[
        tuple[str, ...],
        list_of(NODE_ADDRESS, "a list of IP addresses"),
        Option(
            "instead of `address`: one for each link, in the order of `heartbeat.interfaces`",
            example="[10.20.1.10, 10.30.1.10]",
        ),
    ] = ()
    witness: Annotated[bool, Option("votes, and never holds anything")] = False
    fencing: Annotated[
        FencingConfig | None, Option("how to make sure that this node is down before another takes what it held")
    ] = None


class HeartbeatConfig(Section, frozen=True, kw_only=True):
    transport: Annotated[str, choice("multicast", "unicast", "both"), Option("how heartbeats travel")] = "multicast"
    # Organisation-local scope (RFC 2365): "H", "A"; empty for unicast.
    group: Annotated[str, MULTICAST, Option("multicast group, IPv4 or IPv6")] = "239.192.72.65"
    port: Annotated[
        int, PORT, Option("UDP port of the heartbeats, and TCP port of the link between session stores")
    ] = 7265
    interfaces: Annotated[
        tuple[str, ...],
        list_of(NETWORK, "a list of network interfaces"),
        Option(
            "the links: heartbeats use all of them at once. Needed for `multicast` and `both`",
            otherwise="any, by routing (`unicast`)",
            example="[eth0]",
        ),
    ] = ()
    interval_s: Annotated[float, duration("5ms", "60s"), Option("time between two heartbeats")] = 0.1
    lease_s: Annotated[
        float,
        duration("13ms", "1h"),
        Option(
            "how long a vote counts, and so when another node takes over from a lost host; at least 2.5 x interval",
            otherwise=f"3.5 x interval; with `coordination` at least {format_duration(USUAL_LEASE_S)}",
        ),
    ]
    insecure: Annotated[bool, Option("heartbeats without key, readable and forgeable: for labs")] = False


class HooksConfig(Section, frozen=True):
    taken: Annotated[str, PATH, Option("run after the group became active here")] = ""
    released: Annotated[str, PATH, Option("run after the group was released here")] = ""
    failed: Annotated[str, PATH, Option("run after taking the group failed here")] = ""
    timeout_s: Annotated[float, duration("100ms", "1h"), Option("a hook that runs longer is killed")] = 10.0


class ProbeConfig(Section, frozen=True, kw_only=True):
    """A third party that a node which is not cut off can reach. One of the three is there."""

    tcp: Annotated[str, HOST_AND_PORT, Option("whether a connection is accepted there", example='"10.0.0.1:443"')] = ""
    http: Annotated[str, HOST_URL, Option("whether it answers, and with a status below 500")] = ""
    icmp: Annotated[str, NODE_ADDRESS, Option("whether it answers an echo request")] = ""
    timeout_s: Annotated[
        float, duration("5ms", "10s"), Option("how long to wait for its answer", otherwise="half of the lease")
    ]

    @property
    def kind(self) -> str:
        return "tcp" if self.tcp else "http" if self.http else "icmp"

    @property
    def target(self) -> str:
        return self.tcp or self.http or self.icmp


class GuardsConfig(Section, frozen=True):
    arp: Annotated[bool, Option("a node takes no group whose address a neighbour still answers for (`available`)")] = (
        True
    )
    gateway: Annotated[
        str,
        GATEWAY,
        Option(
            "a node that alone loses its gateway releases its groups and takes none (`available`); "
            "`auto`: that of each group's interface"
        ),
    ] = "auto"
    probe: Annotated[
        ProbeConfig | None,
        Option("a third party: reaching it counts as much as reaching the gateway", formerly="witness"),
    ] = None

    @property
    def looks_outside(self) -> bool:
        return self.gateway != "off" or self.probe is not None


class ProcessConfig(Section, frozen=True):
    realtime: Annotated[
        bool,
        Option(
            "the agent runs before every ordinary process, with its memory locked; for hosts that are often overloaded"
        ),
    ] = False


class FailbackAfter(Section, frozen=True):
    after: Annotated[float, duration("0s", "24h"), Option("how long the node must have been fit", example="30s")]


def _failback(place: Place) -> Any:
    """The seconds of `{after: 30s}`, or None for `manual`."""
    if isinstance(place.node, Mapping):
        return section(FailbackAfter).read(place).get("after")
    if not isinstance(place.node, Scalar) or place.node.text != "manual":
        place.refuse(f"{place.shape()}, but it is `manual` or a time", "write `manual` or `{after: 30s}`")
    return None


BACKEND = plug_in(BACKENDS, PluginConfig, may_be_alone=True)
GROUP_CHECKS = named(
    "check",
    plug_in(CHECKS, CheckConfig, may_be_alone=False),
    most=32,  # each is a task of its own
    least=0,
    words="a mapping from check names to `{kind: NAME, ...}`",
)
FAILBACK = Kind("`manual` or `{after: 30s}`", _failback)


class GroupConfig(Section, frozen=True):
    LATER: ClassVar = ("http", "sessions", "units")

    name: Annotated[str, Given]
    addresses: Annotated[
        tuple[Interface, ...],
        list_of(GROUP_ADDRESS, "a list of addresses with prefix length"),
        Option(
            "the addresses that fail over; without a prefix length `/32` or `/128` is meant", example="[10.20.1.100/24]"
        ),
    ]
    interface: Annotated[
        str, NETWORK, Option("where the addresses are put", otherwise="the one of `heartbeat.interfaces`")
    ]
    backend: Annotated[PluginConfig, BACKEND, Option("how clients are steered to the holder", written="arp")]
    prefer: Annotated[
        tuple[str, ...],
        list_of(NAME, "a list of node names"),
        Option("which nodes try first; nodes that are not named come after those that are", otherwise="no preference"),
    ] = ()
    never: Annotated[
        tuple[str, ...], list_of(NAME, "a list of node names"), Option("nodes that must not hold it", otherwise="none")
    ] = ()
    failback_after_s: Annotated[
        float | None, FAILBACK, Option("whether a fitter node gets the group back by itself", otherwise="`manual`")
    ] = msgspec.field(name="failback", default=None)
    checks: Annotated[
        tuple[CheckConfig, ...], GROUP_CHECKS, Option("what must be well for a node to hold the group")
    ] = ()
    hooks: Annotated[HooksConfig, Option("programs to run", otherwise="none")] = HooksConfig()

    def numbered(self) -> dict[int, Interface]:
        """By the numbers that heartbeats name them by: short, and never the same for two that anybody would use."""
        return {_number(address): address for address in self.addresses}


def _number(address: Interface) -> int:
    packed = address.ip.packed
    if len(packed) == 4:
        return int.from_bytes(packed)
    return 2**32 + int.from_bytes(hashlib.blake2b(packed, digest_size=7).digest())


class HttpConfig(Section, frozen=True):
    listen: Annotated[
        str, OWN_ADDRESS_AND_PORT, Option("where the agent answers HTTP; off the loopback only with `token_file`")
    ] = "127.0.0.1:7266"
    token_file: Annotated[
        str,
        PATH,
        Option("a secret in its first line, guarded like the key: whoever asks sends it as a bearer token"),
    ] = ""
    agent_check: Annotated[
        str,
        OWN_ADDRESS_AND_PORT,
        Option(
            "where HAProxy's agent-check is told `up ready`, `drain`, `maint` or `down`, without a token",
            otherwise="nowhere",
        ),
    ] = ""


class Config(Section, frozen=True, kw_only=True):
    LATER: ClassVar = ("units",)

    cluster: Annotated[str, NAME, Option("the cluster's name", example="shop")]
    key_files: Annotated[
        tuple[str, ...],
        list_of(PATH, "an absolute path, or a list of them"),
        Option("files with the cluster key; of several keys the first seals and all open"),
    ] = msgspec.field(name="key_file", default=("/etc/haagent/cluster.key",))  # empty: insecure
    nodes: Annotated[
        dict[str, NodeConfig],
        named("node", section(NodeConfig), most=MAX_NODES),
        Option("the hosts that run the agent", example="{A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}"),
    ]
    heartbeat: Annotated[HeartbeatConfig, Option("how the nodes hear each other", otherwise="as below")]
    on_partition: Annotated[
        str,
        choice("consistent", "available"),
        Option(
            "who may hold when the cluster is cut: only a majority of all voters, or of those still heard",
            otherwise="`consistent` with three voters or more or with `coordination`, else `available`",
        ),
    ]
    alone_after_s: Annotated[
        float,
        duration("13ms", "2h"),
        Option(
            "how long a node that starts and hears nobody waits before it takes anything (`available`)",
            otherwise="5s, at least 2 x lease",
        ),
    ]
    start_grace_s: Annotated[
        float,
        duration("0s", "1m"),
        Option(
            "how long a node that starts leaves a group that nobody was heard to hold to its first choice, while that"
            " one has not been heard"
        ),
    ] = 1.0
    failure_expiry_s: Annotated[float, duration("1s", "168h"), Option("when a failed take is forgotten")] = 600.0
    gate: Annotated[
        str,
        choice("auto", "off"),
        Option("rules of nf_tables that let traffic to a group's addresses through only while its lease is fresh"),
    ] = "auto"
    process: Annotated[ProcessConfig, Option("how the agent itself runs", otherwise="as below")] = ProcessConfig()
    guards: Annotated[
        GuardsConfig,
        Option("what a node asks, in addition to the votes, before it takes a group", otherwise="as below"),
    ] = GuardsConfig()
    coordination: Annotated[
        CoordinationConfig, Option("what gives the leases, if not the nodes' own votes", otherwise="nobody")
    ] = CoordinationConfig()
    http: Annotated[
        HttpConfig | None, Option("health and metrics over HTTP (the extra `haagent[web]`)", otherwise="nothing")
    ] = None
    sessions: Annotated[
        SessionsConfig | None,
        Option("a session store for applications, the same on every node", otherwise="nothing"),
    ] = None
    groups: Annotated[
        dict[str, GroupConfig],
        named("group", section(GroupConfig), most=MAX_GROUPS),
        Option("what fails over", example="{web: {addresses: [10.20.1.100/24]}}"),
    ]
    me: Annotated[str, Given]  # the node that this host is; empty when only checked
    path: Annotated[str, Given]
    outline: Annotated[Outline, Given]
    digest: Annotated[str, Given]  # of the content without comments and order of keys: the same on all nodes

    @property
    def peers(self) -> tuple[NodeConfig, ...]:
        return tuple(node for node in self.nodes.values() if node.name != self.me)

    @property
    def keeps_sessions(self) -> bool:
        """This node. A witness keeps none."""
        return self.sessions is not None and not self.nodes[self.me].witness

    @property
    def session_peers(self) -> tuple[NodeConfig, ...]:
        """The other nodes that keep sessions."""
        return tuple(node for node in self.peers if not node.witness)

    @property
    def guards_count(self) -> bool:
        """In `consistent` the votes decide, and what the guards see is told to people only."""
        return self.on_partition == "available"

    def settings(self) -> Settings:
        """What the core needs, with the built-in group last: no client waits for it. Any voter that holds may lead."""
        groups = [
            GroupSettings(
                group.name,
                prefer=group.prefer,
                failback_after_s=group.failback_after_s,
                never=group.never,
                addresses={number: str(address.ip) for number, address in group.numbered().items()},
            )
            for group in self.groups.values()
        ]
        return Settings(
            cluster=self.cluster,
            me=self.me,
            nodes=tuple(NodeSettings(node.name, witness=node.witness) for node in self.nodes.values()),
            groups=(*groups, GroupSettings(LEADER)),
            interval_s=self.heartbeat.interval_s,
            lease_s=self.heartbeat.lease_s,
            consistent=self.on_partition == "consistent",
            arp_guard=self.guards_count and self.guards.arp,
            gateway_guard=self.guards_count and self.guards.looks_outside,
            fenced=tuple(node.name for node in self.nodes.values() if node.fencing is not None),
            alone_after_s=self.alone_after_s,
            start_grace_s=self.start_grace_s,
            failure_expiry_s=self.failure_expiry_s,
            arbiter="" if self.coordination.etcd is None else "etcd",
            version=__version__,
            config_hash=self.digest,
            outline=self.outline,
        )
