"""What a reload and a start refuse of a new file, because other nodes still count on the one before."""

from __future__ import annotations

import msgspec
import pytest

from haagent.agent.reload import refuse_another_policy, refuse_what_needs_a_restart
from haagent.config import Config, ConfigError, NodeConfig, parse
from haagent.core.messages import Agreed, Ballot
from haagent.core.settings import Memory
from tests.support.small_agent import FILE

RUNNING = parse(FILE.encode(), "f.yaml", node="A")
AGREED = Memory(agreed=Agreed(Ballot(0, ""), 0, tuple(sorted(RUNNING.nodes))))


def with_nodes(*names: str) -> Config:
    nodes = {name: RUNNING.nodes.get(name) or NodeConfig(name=name, address="10.20.1.99") for name in names}
    return msgspec.structs.replace(RUNNING, nodes=nodes)


def faults(config: Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        refuse_what_needs_a_restart(RUNNING, config, sorted(RUNNING.nodes))
    return [f"{fault.path}: {fault.message}; {fault.hint}" for fault in caught.value.faults]


def test_one_node_more_or_one_fewer_is_reloaded() -> None:
    for names in ("ABWX", "AB", "ABW"):
        refuse_what_needs_a_restart(RUNNING, with_nodes(*names), "ABW")


def test_more_than_one_step_is_refused_with_the_steps() -> None:
    (fault,) = faults(with_nodes("A", "B", "X"))
    assert fault.startswith("nodes: the voters are A, B, W, and one at a time may come or go; add X, then remove W;")


def test_what_is_agreed_counts_and_not_the_file_that_was_read_last() -> None:
    refuse_what_needs_a_restart(RUNNING, with_nodes("A", "B", "X"), "ABWX")


def test_a_node_does_not_become_a_witness_while_the_agents_run() -> None:
    nodes = RUNNING.nodes | {"B": msgspec.structs.replace(RUNNING.nodes["B"], witness=True)}
    (fault,) = faults(msgspec.structs.replace(RUNNING, nodes=nodes))
    assert fault.startswith("nodes.B.witness: cannot change while the agent runs")


def test_an_agent_that_was_consistent_does_not_start_as_anything_else() -> None:
    available = msgspec.structs.replace(RUNNING, on_partition="available")
    with pytest.raises(ConfigError, match=r"remove /var/lib/haagent/memory\.json on each") as caught:
        refuse_another_policy(available, AGREED, memory_file="/var/lib/haagent/memory.json")
    assert [fault.path for fault in caught.value.faults] == ["on_partition"]
    refuse_another_policy(available, Memory(), memory_file="")
    refuse_another_policy(RUNNING, AGREED, memory_file="")
