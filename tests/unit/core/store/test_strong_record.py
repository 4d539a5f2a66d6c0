"""The register of who may lead: what a majority has agreed to is found by whoever leads next, also after restarts."""

from __future__ import annotations

import pytest

from haagent.core.messages import Ballot
from haagent.core.store.strong.record import Register

LIVES = {"A": 1, "B": 2, "W": 0}


class Voters:
    def __init__(self) -> None:
        self.registers = {name: self.born(name) for name in LIVES}
        self.rounds = 0

    def born(self, name: str) -> Register:
        register = Register(name, tuple(LIVES))
        register.life = LIVES[name]
        return register

    def restart(self, name: str) -> None:
        self.registers[name] = self.born(name)

    def talk(self, *names: str) -> None:
        """Often enough for all that has to be said."""
        for _ in range(4):
            for sender in names:
                for hearer in names:
                    if hearer != sender:
                        self.registers[hearer].hear(sender, self.registers[sender].said)

    def hold(self, name: str) -> Register:
        self.rounds += 1
        self.registers[name].hold(Ballot(self.rounds, name))
        return self.registers[name]


@pytest.fixture
def voters() -> Voters:
    """A leads, and B is in step with it."""
    voters = Voters()
    leader = voters.hold("A")
    voters.talk("A", "B", "W")
    assert leader.agreed is not None
    assert leader.agreed.since == Ballot(1, "A")
    leader.propose(2, {"A": 1, "B": 2})
    voters.talk("A", "B", "W")
    assert members(leader) == {"A": 1, "B": 2}
    return voters


def members(register: Register) -> dict[str, int] | None:
    return register.agreed.members if register.agreed is not None else None


def test_the_first_leader_waits_for_all_voters() -> None:
    voters = Voters()
    leader = voters.hold("A")
    voters.talk("A", "B")
    assert leader.agreed is None
    assert not leader.is_barred
    voters.talk("A", "B", "W")
    assert members(leader) == {"A": 1}


def test_a_change_is_agreed_when_a_majority_shows_it(voters: Voters) -> None:
    leader = voters.registers["A"]
    leader.propose(3, {"A": 1})
    assert members(leader) == {"A": 1, "B": 2}
    voters.talk("A", "W")
    assert members(leader) == {"A": 1}


def test_who_is_in_step_leads_next(voters: Voters) -> None:
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert members(follower) == {"A": 1, "B": 2}
    assert follower.agreed is not None
    assert follower.agreed.since == Ballot(1, "A")


def test_who_was_left_out_has_to_let_go(voters: Voters) -> None:
    voters.registers["A"].propose(3, {"A": 1})
    voters.talk("A", "W")
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert follower.agreed is None
    assert follower.is_barred


def test_a_leader_of_before_changes_nothing_any_more(voters: Voters) -> None:
    former = voters.registers["A"]
    voters.hold("B")
    voters.talk("B", "W")
    former.propose(3, {"A": 1})
    voters.talk("A", "W")
    assert members(former) == {"A": 1, "B": 2}
    assert former.is_barred
    assert voters.registers["W"].said.record == voters.registers["B"].agreed


def test_a_store_that_has_restarted_is_out_though_its_node_has_the_lease(voters: Voters) -> None:
    voters.registers["A"].life = 7
    assert voters.registers["A"].is_barred


def test_and_so_it_is_where_its_agent_has_restarted_too(voters: Voters) -> None:
    voters.restart("A")
    voters.registers["A"].life = 7
    again = voters.hold("A")
    voters.talk("A", "B", "W")
    assert again.is_barred
    assert again.agreed is None


def test_a_voter_that_has_forgotten_is_not_asked(voters: Voters) -> None:
    """B was left out, with the witness as the other voter. That one restarts, and A is lost with all that it has."""
    voters.registers["A"].propose(3, {"A": 1})
    voters.talk("A", "W")
    voters.restart("W")
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert follower.agreed is None


def test_that_is_what_it_would_cost(voters: Voters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Register, "_majority", property(lambda self: 1))
    with pytest.raises(AssertionError):
        test_a_voter_that_has_forgotten_is_not_asked(voters)


def test_it_knows_again_what_a_leader_has_told_it(voters: Voters) -> None:
    voters.restart("W")
    voters.talk("A", "W")
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert members(follower) == {"A": 1, "B": 2}


def test_where_all_lives_are_over_it_begins_anew_when_all_voters_are_heard(voters: Voters) -> None:
    voters.registers["A"].propose(3, {"A": 1})
    voters.talk("A", "B", "W")
    follower = voters.hold("B")
    voters.restart("A")
    voters.registers["A"].life = 7
    voters.talk("B", "W")
    assert follower.is_barred  # for all that is known here A may live
    follower.let_go()
    follower = voters.hold("B")
    voters.talk("A", "B")
    voters.talk("A", "B", "W")
    assert members(follower) == {"B": 2}
    assert follower.agreed is not None
    assert follower.agreed.since == Ballot(voters.rounds, "B")


def test_where_no_majority_remembers_all_are_heard_before_one_of_them_is_believed(voters: Voters) -> None:
    voters.restart("A")
    voters.registers["A"].life = 7
    voters.restart("W")
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert follower.agreed is None
    assert not follower.is_barred
    voters.talk("A", "B", "W")
    assert members(follower) == {"A": 1, "B": 2}
    assert follower.agreed is not None
    assert follower.agreed.since == Ballot(1, "A")


def test_where_nobody_remembers_it_begins_anew(voters: Voters) -> None:
    for name in LIVES:
        voters.restart(name)
        voters.registers[name].life += 7 if name != "W" else 0
    follower = voters.hold("B")
    voters.talk("B", "W")
    assert follower.agreed is None
    voters.talk("A", "B", "W")
    assert members(follower) == {"B": 9}
    assert follower.agreed is not None
    assert follower.agreed.since == Ballot(voters.rounds, "B")
