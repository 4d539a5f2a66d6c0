"""One group's key, as one node sees it: what may be written there, and when. Pure: it is told the time and the answers.

What is known of the key is its *revision* when we saw it last (0: it is not there; None: never looked) and *since when*
we have known it like that. Knowledge has an age of its own, `as_of`: the state of the whole store that it describes.
Answers overtake each other (a read, a transaction, the watch), and whatever describes an older state is ignored.

The key is free for our claim when

* it holds a value of this very life: we renew, and whether our lease has run out meanwhile makes no difference, because
  the transaction proves that nobody was in between;
* it says `released`, or the claim brings along that this life of its holder has let go;
* it has been like that for one lease, its own or ours, whichever is longer, since we saw it;
* it is not there, and has not been for one lease: an etcd that lost its data must not make two holders. Who still has a
  lease writes at once.

None of it is so while the store may be in its own past (restored from a backup, which keeps its name and may even go on
with higher revisions). What stood under a key only ever grows (`Mark`), so a smaller mark tells: than the one seen here
before, or than that of a tenure of which somebody has heard (`Claim.after`; that one has to be read again first, as a
heartbeat may be faster than etcd). Whoever was granted what the store has forgotten may hold for one lease still: so
for one lease, the longest that was seen, nothing is free (`distrust`), but for a claim of ours that still runs. That
one is written again at once.

Then the ballot decides: it must be higher than the one that stands there, whoever that was, or `Denied` tells the core
to raise it. While the key is not free a claim waits; it is refused only when the key changes under it, because then its
holder lives.

Addresses have one owner over all keys, as `core.group.ownership` wants it. A claim is written with the addresses that
it names. They are ours when we have read all keys as they were at that moment or later, and no other life had one of
them in another group: of two that write the same, the later finds what the earlier has written. What has become ours
stays ours for as long as the claim is renewed. Others wait until it is released, named no more, or spent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from haagent.coordination.stored import Stored, decode
from haagent.core.events import Claim, Denied, Granted
from haagent.core.messages import Ballot

Owners = tuple[tuple[int, str, str], ...]

NEVER = float("-inf")
RENEW = 1 / 6  # leases between two renewals: four tries before a holder has to let go
SPENT = 0.95  # leases after which the core lets go


Mark = tuple[Ballot, int, bool]  # what a value says of how far its key has come
NOTHING: Mark = (Ballot(-1, ""), 0, False)


class Write(msgspec.Struct, frozen=True):
    """A transaction on the key: it must be at `revision`, or hold exactly `instead`, to become `value`."""

    revision: int
    value: Stored
    instead: bytes = b""


class Outcome(msgspec.Struct, frozen=True):
    """Of one write: done, or what stands there instead (`revision` 0: nothing)."""

    is_done: bool
    revision: int = 0
    value: bytes = b""


class Register:
    def __init__(self, group: str, *, node: str, boot: int, lease_s: float) -> None:
        self.group, self.node, self.boot, self.lease_s = group, node, boot, lease_s
        self.claim: Claim | None = None
        self.stored: Stored | None = None
        self.revision: int | None = None
        self.as_of = -1
        self.seen_at = NEVER
        self.granted_at = NEVER  # when the request was sent that bound the key to us last
        self.is_past = False  # the key has gone back, and nobody has looked at that yet
        self._newest, self._known_at = NOTHING, NEVER  # how far it had come; since when, if not from etcd itself
        self._lost = NOTHING  # and how far in a state of the store that is gone
        self._longest_s = lease_s  # of the leases that were seen
        self._distrusted_until = NEVER
        self._claimed_at: int | None = None  # the revision when the claim was made
        self._denied: tuple[Ballot, int] | None = None  # the last refusal, to say it once
        self._beat = 0
        self._ours: frozenset[int] = frozenset()  # addresses that nobody else had when we had written them here
        self._gained_as_of = 0  # when we wrote others than before

    # ------------------------------------------------------------------ what the core wants

    def want(self, claim: Claim) -> None:
        if self.claim is None:
            self._claimed_at = self.revision
        self.claim = claim
        known = NOTHING if claim.after is None else (claim.after, 0, False)
        if known > max(self._newest, self._lost):
            self._newest, self._known_at = known, claim.asked_at

    def release(self) -> None:
        """Claim no more. What stands there in our name is released by the next write."""
        self.claim, self._claimed_at, self.granted_at, self._ours = None, None, NEVER, frozenset()

    # ------------------------------------------------------------------ what etcd says

    def learn(self, now: float, *, revision: int, value: bytes, as_of: int, asked_at: float = NEVER) -> None:
        """The key is like this (`revision` 0: not there) in the state `as_of` of the store, at `asked_at` or later."""
        if as_of < self.as_of:
            return
        is_new = as_of > self.as_of and revision != self.revision
        self.as_of = as_of
        if is_new:
            self.revision, self.stored, self.seen_at = revision, decode(value) if revision else None, now
        has_gone_back = self._has_gone_back(now, asked_at)
        if not is_new:
            return
        if self.stored is not None:
            self._longest_s = max(self._longest_s, self.stored.lease_ms / 1000)
            if not self.is_ours and not has_gone_back:  # else it was still ours a moment ago
                self.granted_at = NEVER
        if self.claim is not None and self._claimed_at is None:
            self._claimed_at = revision

    def written(self, now: float, write: Write, *, sent_at: float, as_of: int) -> Granted | None:
        if self.revision is not None and as_of < self.revision:
            return None  # and somebody else has written since: the watch was faster
        before = self.stored.addresses if self.is_bound and self.stored is not None else ()
        if not {*write.value.addresses} <= {*before}:
            self._gained_as_of = as_of
        self._ours = self._ours.intersection(write.value.addresses, before)
        self.revision, self.as_of = as_of, max(self.as_of, as_of)
        self.stored, self.seen_at = write.value, now
        if self._has_gone_back(now, sent_at) or self.is_behind or write.value.released:
            return None
        self.granted_at = max(self.granted_at, sent_at)
        return None if self.claim is None else self._granted(write.value, sent_at)

    def _granted(self, value: Stored, asked_at: float) -> Granted:
        ours = tuple(address for address in value.addresses if address in self._ours)
        return Granted(self.group, value.ballot, asked_at, ours)

    def settle(self, now: float, write: Write, outcome: Outcome, *, sent_at: float, as_of: int) -> Granted | None:
        """What came of a write. If the key was different because the same request came twice, it has succeeded."""
        if outcome.is_done:
            return self.written(now, write, sent_at=sent_at, as_of=as_of)
        if outcome.revision and outcome.value == write.value.encode():
            return self.written(now, write, sent_at=sent_at, as_of=outcome.revision)
        self.learn(now, revision=outcome.revision, value=outcome.value, as_of=as_of, asked_at=sent_at)
        return None

    def _has_gone_back(self, now: float, asked_at: float) -> bool:
        stored, newest = self.stored, self._newest
        mark = NOTHING if stored is None else (stored.ballot, stored.beat, stored.released)
        if mark < newest and asked_at < self._known_at:
            return False  # it may have been read before that was written
        self._newest, self._known_at = mark, NEVER
        if mark >= newest:
            return False
        self.is_past, self._lost = True, max(self._lost, newest)
        self.distrust(now)
        return True

    def distrust(self, now: float) -> None:
        """The store may have forgotten a lease."""
        self._distrusted_until = now + self._longest_s

    # ------------------------------------------------------------------ addresses

    def others(self, now: float) -> tuple[int, ...]:
        """Addresses that another life has by what stands here."""
        if self.stored is None or self.is_ours or self.stored.released:
            return ()
        return self.stored.addresses if now < self._spent_at(self.stored) else ()

    @property
    def is_unproved(self) -> bool:
        return self.is_bound and self.stored is not None and not self._ours.issuperset(self.stored.addresses)

    def prove(self, now: float, taken: Collection[int], as_of: int) -> Granted | None:
        """Others had these, in other groups, in the state `as_of` of the store."""
        if self.claim is None or self.stored is None or as_of < self._gained_as_of or now < self._distrusted_until:
            return None
        new = self._ours.union(address for address in self.stored.addresses if address not in taken)
        if new == self._ours:
            return None
        self._ours = new
        return self._granted(self.stored, self.granted_at)

    def forget(self, now: float) -> None:
        """Etcd has lost data: nothing that we know of it is true any more."""
        self.revision, self.stored, self.as_of, self._claimed_at = None, None, -1, None
        self.distrust(now)

    # ------------------------------------------------------------------ what to do

    def denial(self, now: float) -> Denied | None:
        """What the core must be told of its claim, once."""
        if self.claim is None or self.revision is None or self.stored is None:
            return None
        is_free = self._is_free(now)
        if self._may_replace(self.claim.ballot) if is_free else self.revision == self._claimed_at:
            return None
        if self._denied == (self.claim.ballot, self.revision):
            return None
        self._denied = (self.claim.ballot, self.revision)
        return Denied(self.group, self.claim.ballot, self.stored.ballot, is_bound=not is_free)

    def write(self, now: float, *, ahead_s: float = 0.0) -> Write | None:
        """What is due now, or within `ahead_s`, to let renewals of several groups travel together."""
        if self.revision is None:
            return None
        if self.must_release and self.stored is not None:
            return Write(self.revision, self.stored.as_released())
        if self.claim is None:
            return None
        if not self._is_free(now) or not self._may_replace(self.claim.ballot) or now + ahead_s < self._renew_at():
            return None
        self._beat += 1
        value = Stored(
            round=self.claim.ballot.round,
            node=self.node,
            boot=self.boot,
            beat=self._beat,
            lease_ms=round(1000 * self.lease_s),
            addresses=self.claim.addresses,
        )
        # Its holder may be writing its release at this very moment: that is no obstacle.
        instead = b"" if self.stored is None or self.is_ours else self.stored.as_released().encode()
        return Write(self.revision, value, instead)

    def due(self, now: float) -> float:
        """When something may have to be done if nothing is heard until then."""
        if self.must_release:
            return NEVER
        if self.revision is None or self.claim is None or self.is_behind:
            return float("inf")
        if not self._is_free(now):
            return self._free_at()
        return self._renew_at() if self._may_replace(self.claim.ballot) else float("inf")

    @property
    def is_behind(self) -> bool:
        """What is known of the key is older than what others have heard: it has to be read again."""
        return self._known_at > NEVER

    @property
    def must_release(self) -> bool:
        return self.claim is None and self.is_bound

    @property
    def is_bound(self) -> bool:
        """To this life of this node."""
        return self.is_ours and self.stored is not None and not self.stored.released

    @property
    def is_ours(self) -> bool:
        return self.stored is not None and (self.stored.node, self.stored.boot) == (self.node, self.boot)

    def _may_replace(self, ballot: Ballot) -> bool:
        """Ballots never go back."""
        if self.stored is None:
            return True
        return ballot > self.stored.ballot or (self.is_bound and ballot == self.stored.ballot)

    def _renew_at(self) -> float:
        """A claim that stands there already is renewed in time; anything else is written at once."""
        if self.claim is None or self.stored is None or not self.is_bound:
            return NEVER
        if (self.claim.ballot, self.claim.addresses) != (self.stored.ballot, self.stored.addresses):
            return NEVER
        return self.granted_at + RENEW * self.lease_s

    def _is_free(self, now: float) -> bool:
        if self.is_behind or now < self._distrusted_until:
            return not self.is_behind and self._has_lease(now)
        return now >= self._free_at() or self._is_freed() or (self.stored is None and self._has_lease(now))

    def _free_at(self) -> float:
        if self.stored is None:
            spent_at = self.seen_at + self.lease_s
        elif self.is_ours or self.stored.released:
            spent_at = NEVER
        else:
            spent_at = self._spent_at(self.stored)
        return max(spent_at, self._distrusted_until)

    def _spent_at(self, stored: Stored) -> float:
        return self.seen_at + max(self.lease_s, stored.lease_ms / 1000)

    def _is_freed(self) -> bool:
        if self.stored is None or self.claim is None:
            return False
        known = (self.stored.node, self.stored.boot)
        return any(
            (freed.ballot.node, freed.boot) == known and freed.ballot >= self.stored.ballot
            for freed in self.claim.freed
        )

    def _has_lease(self, now: float) -> bool:
        return now < self.granted_at + SPENT * self.lease_s


def owners(registers: Iterable[Register], now: float) -> Owners:
    """By what other lives have written: number, node and group."""
    named = ((each, one.stored.node, one.group) for one in registers if one.stored for each in one.others(now))
    return tuple(sorted(named))


def proofs(registers: Iterable[Register], now: float, found: Owners, as_of: int) -> list[Granted]:
    """`found`: the `owners` in the state `as_of` of the store."""
    told = []
    for one in registers:
        if one.is_unproved:
            told.append(one.prove(now, {address for address, _, group in found if group != one.group}, as_of))
    return [granted for granted in told if granted is not None]
