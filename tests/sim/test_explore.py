"""Everything that may come of a fault is looked at, and what looks has teeth: it finds deliberate bugs, and how."""

from __future__ import annotations

import pytest

from haagent.core.group import counting
from haagent.core.group.lease import Lease
from haagent.core.group.voter import Voter
from haagent.core.messages import Accepted, GroupBeat
from haagent.core.node_state import NodeState
from tests.sim.explore import BEGINNINGS, Result, search
from tests.sim.explorer import FAULTS, Explorer

CUT = "A serves, A and B are cut from each other"


def look(beginning: str, *kinds: str, faults: int, depth: int | None = None) -> Result:
    explorer = Explorer(kinds or FAULTS)
    root = BEGINNINGS[beginning](explorer)._replace(left=faults)
    return search(explorer, root, max_depth=depth)


def test_whatever_comes_of_one_fault_two_never_serve() -> None:
    result = look("A serves", faults=1)
    assert not result.trace, "\n".join(result.trace)
    assert result.waiting == 0  # everything was seen, however long it goes on


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_whatever_comes_of_two_faults_two_do_not_soon_serve(beginning: str) -> None:
    """`make explore` goes on from there."""
    result = look(beginning, faults=2, depth=5)
    assert not result.trace, "\n".join(result.trace)
    assert result.states > 1_000


def test_a_voter_that_accepts_two_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It promises and accepts although an acceptance of somebody else still runs."""

    def always(self: Voter, now: float, offer: Accepted) -> bool:
        return self.promised is None or offer.ballot >= self.promised

    def promise(self: Voter, now: float, beat: GroupBeat, node: str) -> bool:
        if beat.want is None or (self.promised is not None and beat.want <= self.promised):
            return False
        self.promised = beat.want
        return True

    monkeypatch.setattr(Voter, "_may_accept", always)
    monkeypatch.setattr(Voter, "hear_want", promise)
    result = look(CUT, faults=1, depth=10)
    assert "B SERVES" in result.trace[-1]


def test_a_voter_that_forgets_what_it_has_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silence after a restart."""
    monkeypatch.setattr(NodeState, "may_vote", lambda self, now: True)
    result = look(CUT, "crash", "hold", faults=2, depth=15)
    assert any("W is started" in line for line in result.trace)
    assert "B SERVES" in result.trace[-1]


def test_a_lease_counted_from_receipt_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder counts from when it received the acceptance instead of from when it sent what was accepted."""
    genuine = counting.acceptances

    def from_receipt(lease: Lease, membership, votes):  # type: ignore[no-untyped-def]
        sent = genuine(lease, membership, votes)
        return {name: membership.peers[name].heard_at if name in membership.peers else at for name, at in sent.items()}

    monkeypatch.setattr(counting, "acceptances", from_receipt)
    result = look(CUT, "cut", "hold", faults=2, depth=25)
    assert any("A>W" in line and "held up" in line for line in result.trace)  # what W answers is older than its answer
    assert "B SERVES" in result.trace[-1]
