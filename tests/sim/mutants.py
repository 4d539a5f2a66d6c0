"""Deliberate bugs in the core that more than one way of looking has to find."""

from __future__ import annotations

import pytest

from haagent.core.group import counting
from haagent.core.group.lease import Lease
from haagent.core.group.voter import Voter
from haagent.core.messages import Accepted, GroupBeat
from haagent.core.node_state import NodeState


def vote_inside_a_live_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The voter promises and accepts although an acceptance of somebody else still runs."""

    def always(self: Voter, now: float, offer: Accepted) -> bool:
        return self.promised is None or offer.ballot >= self.promised

    def promise(self: Voter, now: float, beat: GroupBeat, node: str) -> bool:
        if beat.want is None or (self.promised is not None and beat.want <= self.promised):
            return False
        self.promised = beat.want
        return True

    monkeypatch.setattr(Voter, "_may_accept", always)
    monkeypatch.setattr(Voter, "hear_want", promise)


def be_silent_after_no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeState, "may_vote", lambda self, now: True)


def count_from_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder counts from when it received the acceptance instead of from when it sent what was accepted."""
    genuine = counting.acceptances

    def from_receipt(lease: Lease, membership, votes):  # type: ignore[no-untyped-def]
        sent = genuine(lease, membership, votes)
        return {name: membership.peers[name].heard_at if name in membership.peers else at for name, at in sent.items()}

    monkeypatch.setattr(counting, "acceptances", from_receipt)
