"""Stores with one rule left out. The simulation must find each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haagent.core.store import merging
from haagent.core.store.comparison import Comparison
from haagent.core.store.effects import Put
from haagent.core.store.events import Answer, Outcome
from haagent.core.store.insync import InSync
from haagent.core.store.messages import Synced
from haagent.core.store.replica import Replica
from haagent.core.store.space import Space
from haagent.core.store.store import Store
from haagent.core.store.stream import Stream

Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Mutant] = {}


def mutant(change: Mutant) -> Mutant:
    MUTANTS[change.__name__] = change
    return change


@mutant
def the_last_writer_wins_also_over_a_logout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "_is_session", lambda self, key: False)


@mutant
def removals_leave_no_trace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Space, "bury", lambda self, key, stamp: None)


@mutant
def a_flush_leaves_no_floor(patch: pytest.MonkeyPatch) -> None:
    empty = Store._empty
    patch.setattr(Store, "_empty", lambda self, number, stamp: empty(self, number, 0))


@mutant
def removals_are_forgotten_while_a_peer_is_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "is_apart", property(lambda self: False, lambda self, value: None), raising=False)


@mutant
def what_had_to_be_forgotten_was_never_removed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "_was_removed", lambda self, effect: False)


@mutant
def the_order_is_that_of_arrival(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(merging, "_put", _put_anyway)


def _put_anyway(space: Space, now_ms: int, effect: Any) -> bool:
    if effect.born > space.floor_of(effect.key):
        space.put(effect.key, space.entry(effect.key), effect.value, effect.stamp, effect.born, effect.expires_ms)
    return True


@mutant
def nobody_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(InSync, "draw", lambda self, now, number, seq: self._do(Answer(number, Outcome.OK)))


@mutant
def in_sync_is_who_is_linked(patch: pytest.MonkeyPatch) -> None:
    settle = InSync.settle

    def early(self: InSync, now: float, seq: int) -> None:
        for peer in self._peers.values():
            peer.is_synced = peer.is_linked
        settle(self, now, seq)

    patch.setattr(InSync, "settle", early)


@mutant
def who_is_behind_is_not_told(patch: pytest.MonkeyPatch) -> None:
    read = Stream.read

    def skipping(self: Stream, reader: Any) -> Any:
        reader.sent = max(reader.sent, self.first)
        return read(self, reader)

    patch.setattr(Stream, "read", skipping)


@mutant
def what_was_refused_counts_as_here(patch: pytest.MonkeyPatch) -> None:
    apply = Store.apply

    def lying(self: Store, now_ms: int, effect: Any) -> bool:
        apply(self, now_ms, effect)
        return True

    patch.setattr(Store, "apply", lying)


@mutant
def a_floor_counts_though_its_value_was_refused(patch: pytest.MonkeyPatch) -> None:
    apply = Store.apply

    def halving(self: Store, now_ms: int, effect: Any) -> bool:
        is_heard = apply(self, now_ms, effect)
        if not is_heard and isinstance(effect, Put) and effect.floor:
            merging._raise_floor(self.spaces[0], self.clock.next(now_ms), effect.key, effect.floor)
        return is_heard

    patch.setattr(Store, "apply", halving)


@mutant
def a_join_takes_one_shard_too_few(patch: pytest.MonkeyPatch) -> None:
    hear = Comparison.hear_digests

    def short(self: Comparison, store: Store, message: Any) -> None:
        hear(self, store, message)
        self.todo = self.todo[1:]

    patch.setattr(Comparison, "hear_digests", short)


@mutant
def stores_are_never_compared_without_a_cause(patch: pytest.MonkeyPatch) -> None:
    start = Replica._start_comparison

    def never(self: Replica, now: float, now_ms: int) -> None:
        self._next_check = now + 1000
        start(self, now, now_ms)

    patch.setattr(Replica, "_start_comparison", never)


@mutant
def synced_is_said_before_it_is_so(patch: pytest.MonkeyPatch) -> None:
    compare = Replica._compare

    def hasty(self: Replica, now_ms: int, peer: Any, *, with_traces: bool) -> None:
        self._send(peer, Synced())
        compare(self, now_ms, peer, with_traces=with_traces)

    patch.setattr(Replica, "_compare", hasty)


@mutant
def a_slice_loses_its_last_effect(patch: pytest.MonkeyPatch) -> None:
    hear = Comparison.hear_slice

    def lossy(self: Comparison, store: Store, now_ms: int, message: Any) -> None:
        del message.effects[-1:]
        hear(self, store, now_ms, message)

    patch.setattr(Comparison, "hear_slice", lossy)


@mutant
def touches_are_lost(patch: pytest.MonkeyPatch) -> None:
    def lose(self: Stream) -> None:
        self._touches.clear()
        self.touches_due = float("inf")

    patch.setattr(Stream, "release_touches", lose)
    stores_are_never_compared_without_a_cause(patch)
