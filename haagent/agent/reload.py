"""What a running agent must not change, and what no agent may bring along from its earlier life.

(Whether there is a gate, as its tables are made before anything is served, and how the process is scheduled, changes
with a restart as well.)

Votes given under one policy or one length of lease are not worth the same under another, so these change with a
restart. Who votes is agreed among the nodes (`core.agreement`): a file may wish for one voter more or one fewer. A
reload that asks for anything else is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Collection

from haagent.config import Config, ConfigError, Fault
from haagent.core import agreement
from haagent.core.settings import Memory


def refuse_what_needs_a_restart(running: Config, wanted: Config, voters: Collection[str]) -> None:
    """`voters`: whose votes count now."""
    pairs: list[tuple[str, object, object]] = [
        ("cluster", running.cluster, wanted.cluster),
        ("on_partition", running.on_partition, wanted.on_partition),
        ("heartbeat.interval", running.heartbeat.interval_s, wanted.heartbeat.interval_s),
        ("heartbeat.lease", running.heartbeat.lease_s, wanted.heartbeat.lease_s),
        *(
            (f"nodes.{name}.witness", running.nodes[name].witness, wanted.nodes[name].witness)
            for name in running.nodes
            if name in wanted.nodes
        ),
        ("gate", running.gate, wanted.gate),
        ("process", running.process.realtime, wanted.process.realtime),
    ]
    faults = [
        Fault(0, path, "cannot change while the agent runs", "restart the agents one after the other instead")
        for path, before, after in pairs
        if before != after
    ]
    if steps := agreement.steps(voters, wanted.nodes):
        faults.append(Fault(0, "nodes", f"the voters are {', '.join(voters)}, and one at a time may come or go", steps))
    if _arbiter(running) != _arbiter(wanted):
        # For a moment one node would ask the old and another the new: both might be told that nobody holds it.
        hint = "stop all agents, and start them when every node has the new file"
        faults.append(Fault(0, "coordination", "cannot change while an agent runs", hint))
    if faults:
        raise ConfigError(wanted.path, faults)


def refuse_another_policy(config: Config, remembered: Memory, *, memory_file: str) -> None:
    """The other nodes may still run with the earlier one. What is safe under each is not safe under both."""
    if remembered.agreed is None or config.settings().has_agreed_voters:
        return
    hint = (
        f"`consistent` was promised here, and the other nodes may still count on it: stop the agents of all nodes, "
        f"remove {memory_file} on each, and start them with the new file"
    )
    what = "cannot change from `consistent` with the nodes' own votes while other nodes run"
    raise ConfigError(
        config.path, [Fault(0, "on_partition" if not config.coordination.etcd else "coordination", what, hint)]
    )


def _arbiter(config: Config) -> str:
    """The keys that give the leases. Where they are reached, and how one logs in there, may change."""
    etcd = config.coordination.etcd
    return "" if etcd is None else etcd.prefix
