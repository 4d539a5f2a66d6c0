"""Stores of which one leads: who waits for what, who is left out, who joins, and whom a follower obeys."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from haagent.core.messages import Ballot
from haagent.core.store.effects import Effect, Put
from haagent.core.store.events import Linked, Unlinked, Woke
from haagent.core.store.settings import StoreSettings
from haagent.core.store.stamps import SHIFT
from haagent.core.store.store import Store
from haagent.core.store.strong.events import (
    Agreed,
    Answer,
    Appointed,
    Dismissed,
    Event,
    Looked,
    Outcome,
    Propose,
    Received,
    Send,
    StrongSettings,
    Wrote,
)
from haagent.core.store.strong.machine import Machine
from haagent.core.store.strong.messages import Entries, Got, Stand
from haagent.core.store.strong.record import Record

NOW_MS = 1_796_000_000_000
BEGUN = Ballot(1, "A")
NAMES = {"A": 1, "B": 2, "C": 3}


class Stores:
    """Three of them, linked; what they say to each other arrives at once, unless it is held."""

    def __init__(self, names: dict[str, int] = NAMES) -> None:
        self.now = 0.0
        self.machines = {name: self.born(name, life) for name, life in names.items()}
        self.held: set[str] = set()  # what these say does not arrive
        self.answers: dict[int, Outcome] = {}
        self.proposals: list[Propose] = []
        for name in names:
            self.link(name)

    def born(self, name: str, life: int) -> Machine:
        store = Store(StoreSettings(databases=1), node_number=NAMES[name], rng=random.Random(life))
        return Machine(StrongSettings(me=name, sync_timeout_s=0.5, backlog_bytes=1_000), store, life=life)

    def link(self, name: str) -> None:
        for other, machine in self.machines.items():
            if other < name:
                self.step(other, Linked(name, self.machines[name].life))
                self.step(name, Linked(other, machine.life))

    def step(self, name: str, event: Event) -> None:
        for action in self.machines[name].step(self.now, NOW_MS, event):
            match action:
                case Send() if name not in self.held:
                    self.step(action.peer, Received(name, action.message))
                case Answer():
                    self.answers[action.ticket] = action.outcome
                case Propose():
                    self.proposals.append(action)

    def appoint(self, name: str, members: dict[str, int], *, round_: int) -> None:
        self.step(name, Appointed(Record(Ballot(round_, name), 1, members, BEGUN), self.now + 1.0))

    def agree(self, name: str) -> None:
        """To all that it has proposed."""
        for epoch, version, members in self.taken():
            self.step(name, Agreed(Record(epoch, version, members, BEGUN)))

    def taken(self) -> Iterator[Propose]:
        while self.proposals:
            yield self.proposals.pop(0)

    def put(self, name: str, key: bytes, value: bytes, ticket: int) -> None:
        store = self.machines[name].store
        store.put(NOW_MS, 0, key, value)
        self.step(name, Wrote(store.take_effects(), ticket))

    def value(self, name: str, key: bytes) -> object:
        return self.machines[name].store.find(NOW_MS, 0, key)


@pytest.fixture
def stores() -> Stores:
    """A leads, and the others are in step with it."""
    stores = Stores()
    stores.appoint("A", {"A": 1}, round_=1)
    stores.agree("A")
    assert stores.machines["A"].serves(stores.now)
    stores.put("A", b"k", b"0", ticket=100)
    assert stores.answers.pop(100) is Outcome.SAFE
    return stores


def test_who_joins_has_all_and_is_waited_for(stores: Stores) -> None:
    assert [stores.value(name, b"k") for name in NAMES] == [b"0", b"0", b"0"]
    stores.held.add("C")
    stores.put("A", b"k", b"1", ticket=1)
    assert stores.answers == {}
    stores.held.clear()
    stores.step("C", Received("A", Entries(Ballot(1, "A"), 2, [], 0)))  # it says once more what it has
    assert stores.answers == {1: Outcome.SAFE}


def test_a_read_waits_for_what_it_tells_of_and_for_nothing_else(stores: Stores) -> None:
    stores.held.add("B")
    stores.put("A", b"k", b"1", ticket=1)
    stores.step("A", Looked([(0, b"k")], 2))
    stores.step("A", Looked([(0, b"other")], 3))
    stores.step("A", Looked(None, 4))
    assert stores.answers == {3: Outcome.SAFE}


def test_nobody_is_answered_before_it_is_agreed_that_a_member_is_left_out(stores: Stores) -> None:
    stores.held.add("B")
    stores.put("A", b"k", b"1", ticket=1)
    stores.now = 0.6
    stores.step("A", Woke())
    assert stores.proposals == [Propose(Ballot(1, "A"), 4, {"A": 1, "C": 3})]
    assert stores.answers == {}
    stores.agree("A")
    assert stores.answers == {1: Outcome.SAFE}


def test_it_comes_back_and_is_waited_for_again(stores: Stores) -> None:
    test_nobody_is_answered_before_it_is_agreed_that_a_member_is_left_out(stores)
    stores.held.clear()
    stores.step("A", Unlinked("B"))
    stores.step("B", Unlinked("A"))
    stores.step("B", Linked("A", 1))
    stores.step("A", Linked("B", 2))
    stores.agree("A")
    assert stores.value("B", b"k") == b"1"
    stores.held.add("B")
    stores.put("A", b"k", b"2", ticket=2)
    assert 2 not in stores.answers


def test_who_leads_next_takes_what_was_not_everywhere_and_gives_it_to_all(stores: Stores) -> None:
    """C has it, B and A's clients do not know."""
    machine = stores.machines["B"]
    del stores.machines["B"]  # B does not hear it
    stores.machines["B"] = stores.born("B", 9)
    stores.held |= {"B", "C"}
    stores.put("A", b"k", b"1", ticket=1)
    stores.machines["B"] = machine
    stores.held = {"A"}
    assert (stores.value("B", b"k"), stores.value("C", b"k")) == (b"0", b"1")
    stores.appoint("B", NAMES, round_=2)
    assert not machine.serves(stores.now)  # A has not said where it stands
    stores.now = 0.6
    stores.step("B", Woke())
    stores.agree("B")
    assert machine.serves(stores.now)
    assert stores.value("B", b"k") == b"1"


def test_what_nobody_was_answered_is_unknown_when_the_lease_is_over(stores: Stores) -> None:
    stores.held.add("B")
    stores.put("A", b"k", b"1", ticket=1)
    stores.step("A", Dismissed())
    assert stores.answers == {1: Outcome.UNKNOWN}
    assert not stores.machines["A"].serves(stores.now)


def test_nothing_is_served_once_the_lease_is_over_whatever_was_heard(stores: Stores) -> None:
    assert stores.machines["A"].serves(0.99)
    assert not stores.machines["A"].serves(1.0)


def test_a_new_life_does_not_lead_by_a_record_of_the_old_one(stores: Stores) -> None:
    stores.machines["B"] = stores.born("B", 9)
    stores.appoint("B", NAMES, round_=2)
    stores.appoint("B", {"A": 1, "B": 9}, round_=3)  # nor, whatever a record says, before it has joined
    assert not stores.machines["B"].serves(stores.now)
    assert stores.proposals == []


def test_who_has_heard_a_newer_leader_obeys_no_older_one(stores: Stores) -> None:
    stores.appoint("B", NAMES, round_=2)
    stores.put("A", b"k", b"1", ticket=1)
    assert stores.answers == {1: Outcome.UNKNOWN}
    entries: list[list[Effect]] = [[Put(0, b"k", b"1", 0, NOW_MS << SHIFT | 1, NOW_MS << SHIFT | 1)]]
    after = stores.machines["C"].log.last
    heard = stores.machines["C"].step(stores.now, NOW_MS, Received("A", Entries(Ballot(1, "A"), after, entries, 0)))
    assert heard == []
    assert stores.value("C", b"k") == b"0"


def test_an_answer_from_before_the_last_question_does_not_count(stores: Stores) -> None:
    """Else it would count as whole by what it said of an earlier join."""
    stores.held.add("C")
    stores.step("A", Unlinked("C"))
    stores.step("A", Linked("C", 3))
    stores.step("A", Received("C", Stand(Ballot(1, "A"), 1, 1, BEGUN, BEGUN)))
    stores.step("A", Received("C", Got(Ballot(1, "A"), 2)))
    stores.put("A", b"k", b"1", ticket=1)
    assert stores.answers == {}


def test_a_change_from_the_future_is_taken_as_a_whole_or_not_at_all(stores: Stores) -> None:
    stamp, late = NOW_MS << SHIFT, NOW_MS + 3_600_000 << SHIFT
    together: list[Effect] = [Put(0, b"x", b"1", 0, stamp, stamp), Put(0, b"y", b"1", 0, late, late)]
    after = stores.machines["C"].log.last
    stores.machines["C"].step(stores.now, NOW_MS, Received("A", Entries(Ballot(1, "A"), after, [together], 0)))
    assert stores.value("C", b"x") is None
    assert stores.machines["C"].log.last == after


def test_who_begins_anew_forgets_what_is_lost_once_and_for_all(stores: Stores) -> None:
    again = Record(Ballot(5, "B"), 1, {"B": 2}, Ballot(4, "B"))  # under 4 it was agreed, and its store did not hear it
    stores.step("B", Appointed(again, 1.0))
    assert stores.machines["B"].serves(stores.now)
    assert stores.value("B", b"k") is None
    stores.put("B", b"k", b"1", ticket=1)
    later = Record(Ballot(6, "B"), 1, {"B": 2}, Ballot(4, "B"))
    stores.step("B", Appointed(later, 1.0))
    assert stores.value("B", b"k") == b"1"
