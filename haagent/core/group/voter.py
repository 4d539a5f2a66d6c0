"""The voter of one group: it binds itself to one holder at a time, and only for a time.

A vote is a promise ("I shall not accept a lower ballot") or an acceptance ("`ballot.node` may hold until L from now").
While an acceptance runs, the voter promises nothing to anybody and accepts only its holder's own renewals. That is the
whole of safety: two holders would need two majorities, these share a voter, and that voter was bound to the first.

The acceptance runs for L from the moment of *receipt*; the holder counts L from the moment of *sending*, which was
earlier, less a margin for clocks that run apart. So the holder has always let go before the voter is free again.

A restarted voter has forgotten what it was bound to and therefore stays silent for L (`may_vote` is False): by then
every acceptance of its earlier life has run out.

Its holder is one life of a node, as the acceptance says: only that one renews and releases it. A second host that uses
the same name by mistake, or a machine that was put back to an earlier state, speaks with the name of a holder of which
it knows nothing. (A guardian's last words are of the life that has died.)

An acceptance made on a late datagram is safe too: it binds the voter longer than needed and gives the holder nothing,
because the holder counts from when it sent that datagram.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat

Life = tuple[str, int]  # a node's name and `boot`


@dataclass
class Voter:
    promised: Ballot | None = None
    accepted: Accepted | None = None
    bound_until: float = float("-inf")
    addresses: tuple[int, ...] = ()  # that the accepted claim names (`ownership`)
    was_freed: bool = False  # by the holder's own word, and bound to nobody since
    released: dict[str, Ballot] = field(default_factory=dict)  # highest release announced by each node

    @classmethod
    def above(cls, floor: int) -> Self:
        """A round that an earlier life has seen: no ballot up to it is promised again, so that ballots never go back.

        `~` sorts after every node's name.
        """
        return cls(promised=Ballot(floor, "~") if floor else None)

    def is_bound(self, now: float) -> bool:
        """To somebody, by an acceptance that still runs."""
        return self.accepted is not None and now < self.bound_until

    def holder(self, now: float) -> str:
        return self.accepted.ballot.node if self.accepted is not None and self.is_bound(now) else ""

    def life(self, now: float) -> Life | None:
        """Of its holder."""
        accepted = self.accepted
        return (accepted.ballot.node, accepted.boot) if accepted is not None and self.is_bound(now) else None

    def hear_release(self, beat: GroupBeat, node: str, boot: int) -> bool:
        """The holder itself says that it no longer holds: nothing to wait for. True when that freed us."""
        released = beat.released
        if released is None or released.node != node:
            return False
        known = self.released.get(node)
        if known is None or released > known:
            self.released[node] = released
        if self.accepted is None or not self._is_of(node, boot) or self.accepted.ballot > released:
            return False
        self.accepted, self.bound_until, self.was_freed = None, float("-inf"), True
        return True

    def hear_claim(self, now: float, beat: GroupBeat, sender: Heartbeat) -> bool:
        """Accept or renew. True when the vote is new (a renewal is not)."""
        claim = beat.claim
        if claim is None or claim.node != sender.node:
            return False
        offer = Accepted(claim, sender.boot, sender.seq)
        return self.accept(now, offer, lease_s=sender.lease_ms / 1000, addresses=beat.addresses)

    def accept(self, now: float, offer: Accepted, *, lease_s: float, addresses: tuple[int, ...] = ()) -> bool:
        if not self._may_accept(now, offer):
            return False
        is_new = not self.is_bound(now) or self.accepted is None or self.accepted.ballot != offer.ballot
        is_new = is_new or addresses != self.addresses
        self.promised, self.accepted, self.was_freed = offer.ballot, offer, False
        self.addresses = addresses
        self.bound_until = now + lease_s
        return is_new

    def hear_want(self, now: float, beat: GroupBeat, node: str) -> bool:
        """Promise, if free. True when the promise is new."""
        want = beat.want
        if want is None or want.node != node or self.is_bound(now):
            return False
        if self.promised is not None and want <= self.promised:
            return False
        self.promised = want
        return True

    def may_be_handed(self, want: Ballot) -> bool:
        """Whether it could accept this want as soon as the holder that it is bound to has let go."""
        freed = self.released.get(want.node)
        return (self.promised is None or want > self.promised) and (freed is None or want > freed)

    def _may_accept(self, now: float, offer: Accepted) -> bool:
        claim = offer.ballot
        if self.promised is not None and claim < self.promised:
            return False
        if (freed := self.released.get(claim.node)) is not None and claim <= freed:
            return False  # a claim overtaken by its own release
        return not self.is_bound(now) or self._is_of(claim.node, offer.boot)

    def _is_of(self, node: str, boot: int) -> bool:
        """What was accepted is a ballot of this very life."""
        return self.accepted is not None and (self.accepted.ballot.node, self.accepted.boot) == (node, boot)

    @property
    def highest_round(self) -> int:
        rounds = [self.promised.round if self.promised else 0]
        rounds += [ballot.round for ballot in self.released.values()]
        return max(rounds)
