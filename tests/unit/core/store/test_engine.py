"""The role of an engine that the agent runs: what it is told, and when."""

from __future__ import annotations

import pytest

from haagent.core.messages import Ballot
from haagent.core.store.engine import (
    MOVE_S,
    Copy,
    Died,
    Engine,
    Fence,
    Follow,
    Holder,
    Holds,
    LetGo,
    Move,
    Pause,
    Promote,
    Propose,
    Resume,
    Said,
    Stage,
    Start,
    Started,
)
from haagent.core.store.strong.record import Record

BALLOT = Ballot(1, "a")


def record(members: dict[str, int], version: int = 1) -> Record:
    return Record(BALLOT, version, members, BALLOT)


def master(members: dict[str, int]) -> Engine:
    engine = Engine("a", sync_timeout_s=1.0)
    assert engine.handle(0.0, Started(1)) == []
    assert engine.handle(0.0, Holds(record(members))) == [Promote()]
    return engine


def test_it_begins_fenced_and_is_made_the_master_once() -> None:
    engine = master({"a": 1})
    assert engine.stage is Stage.MASTER
    assert engine.handle(1.0, Holds(record({"a": 1}))) == []


@pytest.mark.parametrize("members", [{"b": 2}, {"a": 7, "b": 2}, {}])
def test_a_life_that_is_not_in_the_record_lets_go(members: dict[str, int]) -> None:
    engine = Engine("a", sync_timeout_s=1.0)
    engine.handle(0.0, Started(1))
    assert engine.handle(0.0, Holds(record(members))) == [LetGo("its engine has not all that was answered")]
    assert engine.stage is Stage.FENCED


def test_a_holder_whose_engine_has_died_lets_go_and_the_new_life_follows() -> None:
    engine = master({"a": 1, "b": 2})
    assert engine.handle(1.0, Died()) == [LetGo("its engine has died"), Start()]
    assert engine.handle(1.0, Holds(record({"a": 1, "b": 2}))) == [LetGo("its engine has not all that was answered")]
    engine.handle(1.1, Started(9))
    assert engine.handle(1.2, Holds(record({"a": 1, "b": 2}))) == [LetGo("its engine has not all that was answered")]
    assert engine.handle(2.0, Holder("b")) == [Follow("b")]
    assert engine.handle(2.1, Holder("b", record({"b": 2}))) == []
    assert engine.stage is Stage.FOLLOWING
    assert engine.handle(2.2, Holder("b", record({"a": 9, "b": 2}))) == []
    assert engine.stage is Stage.IN_STEP
    assert engine.handle(3.0, Holds(record({"a": 9, "b": 2}))) == [Promote()]


def test_a_replica_that_dies_holds_nothing_and_is_started_again() -> None:
    engine = Engine("a", sync_timeout_s=1.0)
    engine.handle(0.0, Started(1))
    engine.handle(0.0, Holder("b"))
    assert engine.handle(1.0, Died()) == [Start()]
    assert engine.handle(1.0, Holder("b")) == []
    engine.handle(1.1, Started(2))
    assert engine.handle(1.2, Holder("b")) == [Follow("b")]


def test_who_loses_the_lease_is_fenced_at_once() -> None:
    engine = master({"a": 1})
    assert engine.handle(1.0, Holder(None)) == [Fence()]
    assert engine.handle(1.1, Holder(None)) == []
    assert engine.handle(1.2, Holder("b")) == [Follow("b")]
    engine = master({"a": 1})
    assert engine.handle(1.0, Holder("b")) == [Fence(), Follow("b")]


def test_a_replica_is_left_alone_while_nobody_holds() -> None:
    engine = Engine("a", sync_timeout_s=1.0)
    engine.handle(0.0, Started(1))
    engine.handle(0.0, Holder("b"))
    assert engine.handle(1.0, Holder(None)) == []
    assert engine.handle(1.0, Holder("b")) == []
    assert engine.handle(1.0, Holder("c")) == [Follow("c")]


def test_a_role_that_somebody_else_gave_it_is_taken_back() -> None:
    engine = Engine("a", sync_timeout_s=1.0)
    engine.handle(0.0, Started(1))
    assert engine.handle(0.0, Said(is_master=True, offset=0)) == [Fence()]
    engine.handle(0.0, Holder("b"))
    assert engine.handle(0.1, Said(is_master=True, offset=0)) == [Fence(), Follow("b")]
    assert engine.handle(0.2, Said(is_master=False, offset=0)) == []
    engine = master({"a": 1})
    assert engine.handle(1.0, Said(is_master=False, offset=0)) == [
        Fence(),
        LetGo("its engine is no master any more"),
    ]


def test_who_joins_is_proposed_when_it_has_what_there_was_before() -> None:
    engine = master({"a": 1})
    copies = {"b": Copy(2, 0)}
    assert engine.handle(0.1, Said(is_master=True, offset=50, copies=copies)) == []
    assert engine.handle(0.2, Said(is_master=True, offset=90, copies={"b": Copy(2, 49)})) == []
    assert engine.waits_for == frozenset()
    members = {"a": 1, "b": 2}
    assert engine.handle(0.3, Said(is_master=True, offset=120, copies={"b": Copy(2, 90)})) == [Propose(2, members)]
    assert engine.waits_for == {"b"}, "from when it is proposed"
    assert engine.handle(0.4, Said(is_master=True, offset=120, copies={"b": Copy(2, 120)})) == []
    engine.handle(0.5, Holds(record(members, 2)))
    assert engine.waits_for == {"b"}


def test_a_new_life_is_not_taken_for_the_former_one() -> None:
    engine = master({"a": 1, "b": 2})
    engine.handle(0.1, Said(is_master=True, offset=0, copies={"b": Copy(3, 0)}))
    engine.handle(0.2, Said(is_master=True, offset=0, copies={"b": Copy(3, 0)}))
    dropped = engine.handle(1.1, Said(is_master=True, offset=0, copies={"b": Copy(3, 0)}))
    assert dropped == [Propose(2, {"a": 1})]
    joined = engine.handle(1.2, Said(is_master=True, offset=0, copies={"b": Copy(3, 0)}))
    assert joined == [Propose(3, {"a": 1, "b": 3})]


def test_who_is_late_is_waited_for_until_all_agree_that_it_is_out() -> None:
    engine = master({"a": 1, "b": 2})
    assert engine.handle(0.1, Said(is_master=True, offset=10, copies={"b": Copy(2, 0)})) == []
    assert engine.handle(0.9, Said(is_master=True, offset=20, copies={"b": Copy(2, 0)})) == []
    assert engine.handle(1.1, Said(is_master=True, offset=30, copies={"b": Copy(2, 0)})) == [Propose(2, {"a": 1})]
    assert engine.waits_for == {"b"}
    engine.handle(1.2, Holds(record({"a": 1}, 2)))
    assert engine.waits_for == frozenset()


def test_a_planned_move_waits_for_the_same_offset() -> None:
    engine = master({"a": 1, "b": 2})
    assert engine.handle(0.0, Move("b")) == [Pause(2 * MOVE_S)]
    assert engine.handle(0.1, Said(is_master=True, offset=10, copies={"b": Copy(2, 9)})) == []
    assert engine.handle(0.2, Said(is_master=True, offset=10, copies={"b": Copy(2, 10)})) == [
        Fence(),
        LetGo("b has it all, and takes over"),
    ]
    assert engine.handle(0.3, Holder("b")) == [Follow("b")]


def test_a_move_that_takes_too_long_is_given_up() -> None:
    engine = master({"a": 1, "b": 2})
    engine.handle(0.0, Move("b"))
    assert engine.handle(MOVE_S, Said(is_master=True, offset=10, copies={"b": Copy(2, 10)}))[-1] == Resume()
    assert engine.stage is Stage.MASTER


@pytest.mark.parametrize("to", ["a", "c"])
def test_nobody_gets_a_move_who_may_not_lead(to: str) -> None:
    engine = master({"a": 1, "b": 2})
    assert engine.handle(0.0, Move(to)) == []
    assert engine.stage is Stage.MASTER
