"""The configuration as the rest of the agent sees it: frozen, complete, free of contradictions."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import msgspec

from haagent import __version__
from haagent.core.settings import LEADER, GroupSettings, NodeSettings, Settings


class NodeConfig(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[str, ...]
    witness: bool = False


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

    @property
    def peers(self) -> tuple[NodeConfig, ...]:
        return tuple(node for node in self.nodes.values() if node.name != self.me)

    def seen_by(self, node: str) -> Config:
        """The same cluster from another node, for simulations."""
        if node not in self.nodes:
            raise ValueError(f"{node} is not a node of {self.cluster}")
        return msgspec.structs.replace(self, me=node)

    def settings(self) -> Settings:
        """What the core needs, with the built-in group first: any node that votes and holds may be the leader."""
        groups = [
            GroupSettings(name=group.name, prefer=group.prefer, failback_after_s=group.failback_after_s)
            for group in self.groups.values()
        ]
        return Settings(
            cluster=self.cluster,
            me=self.me,
            nodes=tuple(NodeSettings(node.name, witness=node.witness) for node in self.nodes.values()),
            groups=(GroupSettings(LEADER), *groups),
            interval_s=self.heartbeat.interval_s,
            lease_s=self.heartbeat.lease_s,
            consistent=self.on_partition == "consistent",
            alone_after_s=self.alone_after_s,
            failure_expiry_s=self.failure_expiry_s,
            version=__version__,
            config_hash=self.digest,
        )
