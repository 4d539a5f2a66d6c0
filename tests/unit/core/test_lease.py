"""Until when a holder may hold: counted from when it sent what a majority accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haagent.core.group.lease import Lease, acceptances
from haagent.core.membership import NEVER, Membership
from haagent.core.messages import Accepted, Ballot
from haagent.core.settings import NodeSettings, Settings

SETTINGS = Settings(
    cluster="c",
    me="A",
    nodes=tuple(NodeSettings(name) for name in "ABC"),
    groups=(),
    interval_s=0.1,
    lease_s=0.35,
    alone_after_s=5.0,
    start_grace_s=1.0,
    failure_expiry_s=600.0,
)
BALLOT = Ballot(3, "A")


def lease() -> Lease:
    return Lease.begin(SETTINGS, BALLOT)


def test_without_votes_there_is_no_lease() -> None:
    fresh = lease()
    assert fresh.proved_at == NEVER
    assert not fresh.count({"A": 1.0}, "ABC", needed=2)
    assert fresh.ends_at == fresh.let_go_at == NEVER


def test_the_majority_s_oldest_vote_counts() -> None:
    held = lease()
    assert held.count({"A": 1.0, "B": 0.8, "C": 0.2}, "ABC", needed=2)
    assert held.proved_at > NEVER
    assert held.proved_at == 0.8
    assert held.ends_at == 0.8 + 0.35 - 0.0035
    assert held.let_go_at < held.ends_at


def test_only_the_electorate_votes() -> None:
    held = lease()
    assert not held.count({"A": 1.0, "Z": 0.8}, "ABC", needed=2)
    assert held.count({"A": 1.0}, "A", needed=1)


def test_what_was_proved_stays_proved() -> None:
    held = lease()
    held.count({"A": 1.0, "B": 1.0}, "AB", needed=2)
    assert not held.count({"A": 2.0, "B": 0.5}, "AB", needed=2)
    assert not held.count({"A": 2.0, "B": 1.0}, "AB", needed=2)
    assert held.proved_at == 1.0


@given(st.lists(st.dictionaries(st.sampled_from("ABC"), st.floats(0, 10)), max_size=10), st.integers(1, 3))
def test_a_lease_only_grows_and_never_beyond_what_enough_have_accepted(
    votes: list[dict[str, float]], needed: int
) -> None:
    held = lease()
    for sent in votes:
        before = held.proved_at
        assert held.count(sent, "ABC", needed=needed) == (held.proved_at > before)
        assert held.proved_at >= before
        if held.proved_at > before:
            assert sum(at >= held.proved_at for at in sent.values()) >= needed


def test_an_acceptance_counts_for_what_it_names() -> None:
    membership = Membership.among(SETTINGS, boot=7)
    membership.sent(4, 10.0)
    raised = Ballot(9, "A")
    votes = [
        ("A", Accepted(BALLOT, 7, 4)),
        ("B", Accepted(raised, 7, 4)),  # of a ballot that was raised in place
        ("C", None),
        ("D", Accepted(Ballot(2, "A"), 7, 4)),  # of an earlier tenure
        ("E", Accepted(Ballot(8, "B"), 7, 4)),  # of somebody else
        ("F", Accepted(BALLOT, 6, 4)),  # of an earlier life
        ("G", Accepted(BALLOT, 7, 3)),  # of a heartbeat that we have not sent, or long ago
    ]
    assert acceptances(lease(), membership, votes) == {"A": 10.0, "B": 10.0}


def test_the_numbers_stand_in_the_order_that_safety_needs() -> None:
    """A member is dead before the holder has to let go, and the holder has let go before a voter is free."""
    drift = 0.01
    assert SETTINGS.dead_after_s < SETTINGS.let_go_s
    assert SETTINGS.let_go_s < SETTINGS.lease_s - SETTINGS.drift_margin_s <= SETTINGS.lease_s * (1 - drift)
    assert SETTINGS.voters == ("A", "B", "C")
    assert SETTINGS.witnesses == ()
