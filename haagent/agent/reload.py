"""What a running agent must not change: who votes, and for how long.

(And whether there is a gate, as its tables are made before anything is served, and how the process is scheduled.)

Votes given under one set of voters or one length of lease are not worth the same under another, so these change with a
restart, one node at a time. A reload that asks for it is refused as a whole.
"""

from __future__ import annotations

from haagent.config import Config, ConfigError, Fault


def refuse_what_needs_a_restart(running: Config, wanted: Config) -> None:
    pairs: list[tuple[str, object, object]] = [
        ("cluster", running.cluster, wanted.cluster),
        ("on_partition", running.on_partition, wanted.on_partition),
        ("heartbeat.interval", running.heartbeat.interval_s, wanted.heartbeat.interval_s),
        ("heartbeat.lease", running.heartbeat.lease_s, wanted.heartbeat.lease_s),
        ("nodes", _voters(running), _voters(wanted)),
        ("gate", running.gate, wanted.gate),
        ("process", running.process.realtime, wanted.process.realtime),
    ]
    faults = [
        Fault(0, path, "cannot change while the agent runs", "restart the agents one after the other instead")
        for path, before, after in pairs
        if before != after
    ]
    if _arbiter(running) != _arbiter(wanted):
        # For a moment one node would ask the old and another the new: both might be told that nobody holds it.
        hint = "stop all agents, and start them when every node has the new file"
        faults.append(Fault(0, "coordination", "cannot change while an agent runs", hint))
    if faults:
        raise ConfigError(wanted.path, faults)


def _arbiter(config: Config) -> str:
    """The keys that give the leases. Where they are reached, and how one logs in there, may change."""
    etcd = config.coordination.etcd
    return "" if etcd is None else etcd.prefix


def _voters(config: Config) -> list[tuple[str, bool]]:
    return sorted((node.name, node.witness) for node in config.nodes.values())
