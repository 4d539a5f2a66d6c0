"""The lease of one group as its candidate or holder sees it: how many have voted, and until when that holds.

A voter's acceptance names our heartbeat (`boot`, `seq`) that it answered. It is worth L from when *we sent* that
heartbeat: the voter received it later, so it is bound for longer. A majority of such instants gives the instant up to
which a majority is bound (`ends_at`, less the clock-drift margin), and a little before it, `let_go_at`, the moment by
which we must have begun to let go.

Both only ever grow within one tenure: what was proved stays proved when the electorate changes later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from haagent.core.membership import NEVER, Membership
from haagent.core.messages import Accepted, Ballot
from haagent.core.settings import Settings


@dataclass
class Lease:
    """One attempt to hold, from the want to the release."""

    ballot: Ballot  # may be raised while held
    tenure: Ballot  # with which this attempt began: older acceptances do not count
    lease_s: float
    drift_margin_s: float
    let_go_s: float
    proved_at: float = NEVER  # a majority is bound by heartbeats that we sent at or after this instant

    @classmethod
    def begin(cls, settings: Settings, ballot: Ballot) -> Self:
        return cls(ballot, ballot, settings.lease_s, settings.drift_margin_s, settings.let_go_s)

    def count(self, sent: dict[str, float], electorate: Collection[str], *, needed: int) -> bool:
        """`sent`: per voter, when we sent the heartbeat it accepted last. True when the lease grew."""
        instants = sorted((sent[name] for name in electorate if name in sent), reverse=True)
        if len(instants) < needed or instants[needed - 1] <= self.proved_at:
            return False
        self.proved_at = instants[needed - 1]
        return True

    def shorten(self, settings: Settings) -> None:
        """From now on our heartbeats ask the voters for this much. A longer lease waits for the next tenure: what was
        asked for before is not bound for longer."""
        if settings.lease_s < self.lease_s:
            self.lease_s, self.drift_margin_s = settings.lease_s, settings.drift_margin_s
            self.let_go_s = settings.let_go_s

    @property
    def ends_at(self) -> float:
        return self.proved_at + self.lease_s - self.drift_margin_s

    @property
    def let_go_at(self) -> float:
        return self.proved_at + self.let_go_s


def acceptances(lease: Lease, membership: Membership, votes: Iterable[tuple[str, Accepted | None]]) -> dict[str, float]:
    """When we sent the heartbeat that each voter accepted last, as far as the acceptance counts for this tenure."""
    sent: dict[str, float] = {}
    for voter, accepted in votes:
        if accepted is None or accepted.ballot.node != lease.ballot.node or accepted.ballot < lease.tenure:
            continue
        instant = membership.sent_at(accepted.boot, accepted.seq)
        if instant is not None:
            sent[voter] = instant
    return sent
