"""The voter of one group: bound to one holder at a time, and for a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haagent.core.group.voter import Voter
from haagent.core.messages import Ballot, GroupBeat, Heartbeat

LEASE_S = 0.35
LIFE, TWIN = 7, 8  # boots: of the holder, and of another host that uses its name
A1, A2, A9 = Ballot(1, "A"), Ballot(2, "A"), Ballot(9, "A")
B1, B2, B3 = Ballot(1, "B"), Ballot(2, "B"), Ballot(3, "B")


def sender(node: str, seq: int = 1, lease_ms: int = 350, boot: int = LIFE) -> Heartbeat:
    return Heartbeat(cluster="c", node=node, boot=boot, seq=seq, interval_ms=100, lease_ms=lease_ms)


def says(**what: Ballot) -> GroupBeat:
    return GroupBeat("web", **what)


def bound_to_a(ballot: Ballot = A2) -> Voter:
    voter = Voter()
    assert voter.hear_want(0.0, says(want=ballot), "A")
    assert voter.hear_claim(0.0, says(claim=ballot), sender("A"))
    return voter


def test_a_free_voter_promises_the_higher_ballot_once() -> None:
    voter = Voter()
    assert voter.hear_want(0.0, says(want=A1), "A")
    assert not voter.hear_want(0.0, says(want=A1), "A"), "a promise is news only once"
    assert voter.hear_want(0.0, says(want=B1), "B"), "of two equal rounds the node decides"
    assert not voter.hear_want(0.0, says(want=A1), "A")
    assert voter.promised == B1


def test_nobody_wants_or_claims_for_somebody_else() -> None:
    voter = Voter()
    assert not voter.hear_want(0.0, says(want=A1), "B")
    assert not voter.hear_claim(0.0, says(claim=A1), sender("B"))
    assert not voter.hear_release(says(released=A1), "B", LIFE)
    assert voter.promised is None
    assert voter.accepted is None


def test_silence_changes_nothing() -> None:
    voter = bound_to_a()
    assert not voter.hear_want(9.0, says(), "B")
    assert not voter.hear_claim(9.0, says(), sender("B"))
    assert not voter.hear_release(says(), "A", LIFE)
    assert voter.promised == A2


def test_a_bound_voter_promises_and_accepts_nothing_from_others() -> None:
    voter = bound_to_a()
    assert voter.is_bound(LEASE_S - 0.001)
    assert not voter.hear_want(LEASE_S - 0.001, says(want=B3), "B")
    assert not voter.hear_claim(LEASE_S - 0.001, says(claim=B3), sender("B"))
    assert voter.holder(LEASE_S - 0.001) == "A"


def test_an_acceptance_runs_out_to_the_instant() -> None:
    voter = bound_to_a()
    assert not voter.is_bound(LEASE_S)
    assert voter.holder(LEASE_S) == ""
    assert voter.hear_want(LEASE_S, says(want=B3), "B")


def test_a_renewal_is_not_news_but_binds_for_longer() -> None:
    voter = bound_to_a()
    assert not voter.hear_claim(0.3, says(claim=A2), sender("A", seq=4))
    assert voter.accepted is not None
    assert voter.accepted.seq == 4
    assert voter.is_bound(0.3 + LEASE_S - 0.001)


def test_the_holder_may_raise_its_ballot_in_place() -> None:
    voter = bound_to_a()
    assert voter.hear_claim(0.1, says(claim=A9), sender("A", seq=2))
    assert voter.promised == A9


def test_a_claim_below_the_promise_is_not_accepted() -> None:
    voter = Voter()
    voter.hear_want(0.0, says(want=B2), "B")
    assert not voter.hear_claim(0.0, says(claim=A2), sender("A"))


def test_another_life_of_the_holders_name_neither_frees_nor_renews() -> None:
    """A twin's release would free the voters of the real holder."""
    voter = bound_to_a()
    assert not voter.hear_release(says(released=A9), "A", TWIN)
    assert voter.is_bound(LEASE_S - 0.001)
    voter = bound_to_a()
    assert not voter.hear_claim(0.1, says(claim=A9), sender("A", boot=TWIN))
    assert voter.accepted is not None
    assert voter.accepted.boot == LIFE
    assert not voter.is_bound(LEASE_S)
    assert voter.hear_claim(LEASE_S, says(claim=A9), sender("A", boot=TWIN)), "it may follow, as anybody may"


def test_the_same_holder_after_its_acceptance_ran_out_is_news() -> None:
    voter = bound_to_a()
    assert voter.hear_claim(1.0, says(claim=A2), sender("A", seq=9))


def test_a_release_frees_at_once() -> None:
    voter = bound_to_a()
    assert voter.hear_release(says(released=A2), "A", LIFE)
    assert not voter.is_bound(0.0)
    assert voter.hear_want(0.0, says(want=B3), "B")
    assert not voter.hear_release(says(released=A2), "A", LIFE), "it is said in every heartbeat, and frees once"


def test_an_old_release_does_not_free_a_new_claim() -> None:
    voter = bound_to_a(A9)
    assert not voter.hear_release(says(released=A2), "A", LIFE)
    assert voter.is_bound(0.0)


def test_a_claim_that_its_own_release_has_overtaken_is_not_accepted() -> None:
    voter = Voter()
    voter.hear_release(says(released=A2), "A", LIFE)
    assert not voter.hear_claim(0.0, says(claim=A2), sender("A"))
    assert voter.hear_claim(0.0, says(claim=A9), sender("A"))


def test_the_highest_release_of_a_node_counts() -> None:
    voter = Voter()
    voter.hear_release(says(released=A9), "A", LIFE)
    voter.hear_release(says(released=A2), "A", LIFE)
    assert voter.released["A"] == A9
    assert voter.highest_round == 9


def test_rounds_of_an_earlier_life_are_never_promised_again() -> None:
    voter = Voter.above(5)
    assert not voter.hear_want(0.0, says(want=Ballot(5, "zebra")), "zebra")
    assert voter.hear_want(0.0, says(want=Ballot(6, "A")), "A")
    assert Voter().highest_round == 0
    assert Voter.above(5).highest_round == 5


ballots = st.builds(Ballot, st.integers(1, 4), st.sampled_from("ABC"))
words = st.tuples(st.sampled_from(["want", "claim", "released"]), ballots, st.floats(0, 0.4))


@given(st.lists(words, max_size=30))
def test_whatever_is_said_a_promise_is_never_taken_back_nor_a_binding_broken(
    story: list[tuple[str, Ballot, float]],
) -> None:
    voter, now = Voter(), 0.0
    for seq, (what, ballot, pause_s) in enumerate(story, start=1):
        now += pause_s
        promised, holder = voter.promised, voter.holder(now)
        beat = says(**{what: ballot})
        freed = voter.hear_release(beat, ballot.node, LIFE)
        voter.hear_claim(now, beat, sender(ballot.node, seq))
        voter.hear_want(now, beat, ballot.node)
        assert promised is None or (voter.promised is not None and voter.promised >= promised)
        if holder and not freed:
            assert voter.holder(now) == holder
        if voter.accepted is not None:
            assert voter.promised is not None
            assert voter.promised >= voter.accepted.ballot
