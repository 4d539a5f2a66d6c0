"""The configuration as the rest of the agent sees it: frozen, complete, free of contradictions."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import msgspec

from haagent import __version__
from haagent.config.coordination import EtcdConfig
from haagent.core.settings import LEADER, GroupSettings, NodeSettings, Settings


class FencingConfig(msgspec.Struct, frozen=True):
    """How a node is made sure to be down. The options may be secret: they are in no `repr`, and so in no log."""

    agent: str  # a program: a name that is looked for in PATH, or an absolute path
    options: tuple[tuple[str, str], ...] = ()  # as written, in order
    options_file: str = ""  # more of them, in a file that is guarded like a key
    action: str = "off"  # off | reboot
    timeout_s: float = 30.0

    def __repr__(self) -> str:
        return f"FencingConfig(agent={self.agent!r}, action={self.action!r}, timeout_s={self.timeout_s!r}, ...)"


class NodeConfig(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[str, ...]
    witness: bool = False
    fencing: FencingConfig | None = None


class HeartbeatConfig(msgspec.Struct, frozen=True):
    transport: str  # multicast | unicast
    group: str  # empty for unicast
    port: int
    interfaces: tuple[str, ...]
    interval_s: float
    lease_s: float
    insecure: bool = False


class PluginConfig(msgspec.Struct, frozen=True):
    """The options have been checked against the plug-in's `Options`; `typed_options` makes one of them."""

    kind: str
    options: dict[str, Any]


class CheckConfig(msgspec.Struct, frozen=True):
    name: str
    kind: str
    options: dict[str, Any]


class HooksConfig(msgspec.Struct, frozen=True):
    taken: str = ""  # absolute path; empty: none
    released: str = ""
    failed: str = ""
    timeout_s: float = 10.0


class WitnessConfig(msgspec.Struct, frozen=True):
    """A third party that a node which is not cut off can reach."""

    kind: str  # tcp | http | icmp
    target: str  # ADDRESS:PORT, a URL, an address
    timeout_s: float


class GuardsConfig(msgspec.Struct, frozen=True):
    arp: bool = True
    gateway: str = "auto"  # auto | off | an address
    witness: WitnessConfig | None = None

    @property
    def looks_outside(self) -> bool:
        return self.gateway != "off" or self.witness is not None


class GroupConfig(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    interface: str
    backend: PluginConfig
    prefer: tuple[str, ...] = ()
    failback_after_s: float | None = None  # None: manual
    checks: tuple[CheckConfig, ...] = ()
    hooks: HooksConfig = HooksConfig()


class Config(msgspec.Struct, frozen=True):
    cluster: str
    me: str  # the node that this host is; empty when only checked
    nodes: dict[str, NodeConfig]
    key_files: tuple[str, ...]  # empty: insecure
    heartbeat: HeartbeatConfig
    on_partition: str  # consistent | available
    alone_after_s: float
    failure_expiry_s: float
    groups: dict[str, GroupConfig]
    path: str
    digest: str  # of the file's content without comments and order of keys: the same on all nodes
    guards: GuardsConfig = GuardsConfig()
    gate: str = "auto"  # auto | off
    realtime: bool = False
    coordination: EtcdConfig | None = None  # None: the nodes' votes give the leases

    @property
    def peers(self) -> tuple[NodeConfig, ...]:
        return tuple(node for node in self.nodes.values() if node.name != self.me)

    def seen_by(self, node: str) -> Config:
        """The same cluster from another node, for simulations."""
        if node not in self.nodes:
            raise ValueError(f"{node} is not a node of {self.cluster}")
        return msgspec.structs.replace(self, me=node)

    @property
    def guards_count(self) -> bool:
        """In `consistent` the votes decide, and what the guards see is told to people only."""
        return self.on_partition == "available"

    def settings(self) -> Settings:
        """What the core needs, with the built-in group last: no client waits for it. Any voter that holds may lead."""
        groups = [
            GroupSettings(name=group.name, prefer=group.prefer, failback_after_s=group.failback_after_s)
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
            failure_expiry_s=self.failure_expiry_s,
            arbiter="" if self.coordination is None else "etcd",
            version=__version__,
            config_hash=self.digest,
        )
