"""A node comes into a file and goes out of it; a person's way of writing stays."""

from __future__ import annotations

import difflib

import pytest

from haagent.config import parse
from haagent.config.edit import CannotEdit, with_node, without_node
from haagent.config.starter import Starter, starter_text

BLOCK = """\
# our shop
cluster: shop   # do not rename
heartbeat: {interfaces: [eth0], insecure: true}

nodes:
  A:
    address: 10.20.1.10   # rack 1
  B:
    address: 10.20.1.11

  # C is new
  C: {address: 10.20.1.12, fencing: {agent: fence_x, options: {ip: 10.9.0.3}}}   # rack 3
  W:
    address: 10.20.1.13
    witness: true
# the end of the nodes

groups:
  web:
    addresses: [10.20.1.100/24]
    prefer: [A, B, C]  # in this order
  db:
    addresses: 10.20.1.101/24
    prefer:
      - C
      - A
    never:
      - B
  ftp: {addresses: 10.20.1.102/24, prefer: [C], never: [W2]}
""".replace(", never: [W2]", "")

FLOW = """\
cluster: shop
heartbeat: {interfaces: [eth0], insecure: true}
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}, C: {address: 10.20.1.12}, D: {address: 10.20.1.13}}
groups: {web: {addresses: [10.20.1.100/24], prefer: [C, A]}, db: {addresses: [10.20.1.101/24], prefer: [C]}}
"""


def changes(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_a_node_is_a_line_behind_the_last_one() -> None:
    after = with_node(BLOCK, "", "D", {"address": "10.20.1.14"})
    assert changes(BLOCK, after) == ["+  D: {address: 10.20.1.14}"]
    assert list(parse(after.encode(), "").nodes) == ["A", "B", "C", "W", "D"]
    assert after.index("  D:") < after.index("# the end of the nodes")


def test_a_witness_with_two_links_and_a_name_that_needs_quotes() -> None:
    facts = {"addresses": ["10.20.1.14", "fd00::14"], "witness": True}
    after = with_node(BLOCK, "", "no", facts)
    assert changes(BLOCK, after) == ['+  "no": {addresses: [10.20.1.14, "fd00::14"], witness: true}']
    assert parse(after.encode(), "").nodes["no"].witness


def test_a_node_goes_with_all_that_names_it() -> None:
    after = without_node(BLOCK, "", "C")
    assert changes(BLOCK, after) == [
        "-  C: {address: 10.20.1.12, fencing: {agent: fence_x, options: {ip: 10.9.0.3}}}   # rack 3",
        "-    prefer: [A, B, C]  # in this order",
        "+    prefer: [A, B]  # in this order",
        "-      - C",
        "-  ftp: {addresses: 10.20.1.102/24, prefer: [C]}",
        "+  ftp: {addresses: 10.20.1.102/24}",
    ]
    assert list(parse(after.encode(), "").nodes) == ["A", "B", "W"]


@pytest.mark.parametrize(("name", "lines"), [("A", 4), ("B", 4), ("W", 3)])
def test_a_node_in_several_lines_goes_with_all_of_them(name: str, lines: int) -> None:
    after = without_node(BLOCK, "", name)
    gone = changes(BLOCK, after)
    assert name not in parse(after.encode(), "").nodes
    assert sum(line.startswith("-") for line in gone) >= lines - 1
    assert "# C is new" in after


@pytest.mark.parametrize("name", ["A", "C", "D"])
def test_in_one_line(name: str) -> None:
    after = without_node(FLOW, "", name)
    assert sorted({*"ABCD"} - {name}) == list(parse(after.encode(), "").nodes)
    assert len(after.splitlines()) == len(FLOW.splitlines())
    again = with_node(after, "", name, {"address": "10.20.1.20"})
    assert list(parse(again.encode(), "").nodes)[-1] == name


def test_there_and_back_is_the_same_text() -> None:
    for text in (BLOCK, FLOW, BLOCK.replace("\n", "\r\n"), starter_text(STARTER)):
        assert without_node(with_node(text, "", "X", {"address": "10.20.1.20"}), "", "X") == text


STARTER = Starter(
    nodes={"A": "10.20.1.10", "B": "10.20.1.11", "W": "10.20.1.12"}, witnesses=("W",), vips=("10.20.1.100/24",)
)


def test_a_file_that_ends_within_the_nodes() -> None:
    text = FLOW.splitlines()[0] + "\nnodes:\n  A: {address: 10.20.1.10}"
    assert with_node(text, "", "B", {"address": "10.20.1.11"}) == text + "\n  B: {address: 10.20.1.11}\n"


def test_a_key_beside_is_written_at_the_end() -> None:
    after = with_node(BLOCK, "", "D", {"address": "10.20.1.14"}, on_partition="consistent")
    assert changes(BLOCK, after) == ["+  D: {address: 10.20.1.14}", "+on_partition: consistent"]


@pytest.mark.parametrize(
    "text",
    [
        FLOW.replace("nodes: {", "nodes: &all {") + "# \n...\n",
        BLOCK.replace("prefer: [A, B, C]", "prefer: &order [A, B, C]").replace("ftp: {", "ftp: {never: *order, "),
    ],
)
def test_what_is_not_understood_is_not_touched(text: str) -> None:
    with pytest.raises(CannotEdit, match="no program should change"):
        without_node(with_node(text, "", "X", {"address": "10.20.1.20"}, gate="off"), "", "C")
