"""The table of a group's transitions: what it refuses, that every arc is walked, and what the documents show of it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from haagent.core.events import AnyEvent, Dropped, HealthChanged, TakeFailed
from haagent.core.group import transitions
from haagent.core.group.state import Group
from haagent.core.group.transitions import ARCS, HOLDING, TRYING, GroupState, IllegalTransition
from haagent.core.settings import GroupSettings
from tests.sim.schedules import run_seed
from tests.support.node_stage import TENURE, build, in_state, node_of

ROOT = Path(__file__).parents[3]
LEGAL = {(arc.source, arc.target) for arc in ARCS}


@pytest.mark.parametrize("target", list(GroupState))
@pytest.mark.parametrize("source", list(GroupState))
def test_only_an_arc_of_the_table_is_walked(source: GroupState, target: GroupState) -> None:
    group = Group.new(GroupSettings("web"), 0.0, floor=0, silent_until=0.0)
    group.state = source
    if (source, target) in LEGAL:
        group.become(target)
        assert group.state is target
    else:
        with pytest.raises(IllegalTransition, match=f"become {target} while it is {source}"):
            group.become(target)
        assert group.state is source


def test_each_arc_is_there_once_and_says_what_it_means() -> None:
    assert len(LEGAL) == len(ARCS)
    for arc in ARCS:
        assert arc.meaning
        assert arc.source is not arc.target


def test_what_the_table_says_of_safety() -> None:
    assert {source for source, target in LEGAL if target is GroupState.TAKING} == {GroupState.CLAIMING}
    assert {target for source, target in LEGAL if source is GroupState.DROPPING} == {GroupState.IDLE}
    for source, target in LEGAL:
        if source in HOLDING:
            assert target in (*HOLDING, GroupState.DROPPING, GroupState.IDLE)
        if source in TRYING:
            assert target in (*TRYING, GroupState.TAKING, GroupState.IDLE)


def test_every_arc_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    """By random schedules, and by what only a shell's surprise or a slow activation brings about."""
    walked: set[tuple[GroupState, GroupState]] = set()

    class Watched:
        def __contains__(self, arc: tuple[GroupState, GroupState]) -> bool:
            walked.add(arc)
            return arc in LEGAL

    monkeypatch.setattr(transitions, "LEGAL", Watched())
    for seed in range(40):
        run_seed(seed)
    surprises: list[tuple[GroupState, AnyEvent]] = [
        (GroupState.TAKING, HealthChanged("web", ok=False)),
        (GroupState.TAKING, TakeFailed("web", TENURE, "no such device")),
        (GroupState.ACTIVE, Dropped("web", TENURE)),
        (GroupState.YIELDING, Dropped("web", TENURE)),
    ]
    for state, event in surprises:
        world = in_state(state)
        node_of(world, "A").step(world.t, build(event, world))
    world = in_state(GroupState.YIELDING)
    world.crash("B")
    world.run(world.t + 5.0)
    assert walked == LEGAL


def test_nobody_else_sets_a_state() -> None:
    setters = [
        f"{path.name}: {ast.unparse(node)}"
        for path in sorted((ROOT / "haagent" / "core").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == "state"
    ]
    of_the_node = ["node.py: node.state", "node.py: self.state"]  # a `NodeState`, once
    assert sorted(setters) == [*of_the_node, "state.py: self.state"]


def test_the_documents_show_the_table() -> None:
    document = (ROOT / "docs" / "guide" / "how-it-decides.md").read_text(encoding="utf-8")
    assert f"<!-- transitions -->\n{transitions.diagram()}\n<!-- /transitions -->" in document
