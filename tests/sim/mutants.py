"""Deliberate bugs in the core, and in what carries its decisions out, that more than one way of looking has to find."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from haagent.activation import Activation
from haagent.activation.pipeline import GroupPipeline
from haagent.core import agreement, maintenance, reserved, twins, votes
from haagent.core import reload as reloading
from haagent.core.group import counting, ownership
from haagent.core.group.lease import Lease
from haagent.core.group.state import Group
from haagent.core.group.voter import Voter
from haagent.core.membership import Membership, Peer
from haagent.core.messages import Accepted, GroupBeat
from haagent.core.node_state import NodeState
from haagent.gate.channel import GateError
from haagent.gate.elements import Elements
from haagent.simulate import host
from tests.sim.world import Host, World


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
    _know_everybody_at_once(monkeypatch)
    monkeypatch.setattr(NodeState, "may_vote", lambda self, now: True)


def count_from_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder counts from when it received the acceptance instead of from when it sent what was accepted."""
    genuine = counting.acceptances

    def from_receipt(lease: Lease, membership, votes):  # type: ignore[no-untyped-def]
        sent = genuine(lease, membership, votes)
        return {name: membership.peers[name].heard_at if name in membership.peers else at for name, at in sent.items()}

    monkeypatch.setattr(counting, "acceptances", from_receipt)


def speak_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guardian says its last words although the kernel still has what they speak of."""
    monkeypatch.setattr(World, "_remove_all", lambda self, host: None)


def vote_as_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = NodeState.begin.__func__  # type: ignore[attr-defined]

    def as_the_file_says(kind, settings, *, memory, **start):  # type: ignore[no-untyped-def]
        return begin(kind, settings, memory=msgspec.structs.replace(memory, agreed=None), **start)

    monkeypatch.setattr(NodeState, "begin", classmethod(as_the_file_says))


def change_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "settled_at", lambda state, now: float("-inf"))


def change_within_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A majority has the set, but not for as long as a lease runs."""

    def no_lease(state: NodeState, now: float) -> float:
        peers = state.membership.peers.values()
        has = {peer.name for peer in peers if peer.beat is not None and peer.beat.agreed == state.agreed}
        is_settled = len({*has, state.settings.me} & {*state.agreed.voters}) >= state.majority
        return float("-inf") if is_settled else float("inf")

    monkeypatch.setattr(agreement, "settled_at", no_lease)


def change_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_wish(state: NodeState, now: float) -> tuple[str, ...] | None:
        wish = tuple(sorted(state.settings.voters))
        return wish if wish != state.agreed.voters else None

    monkeypatch.setattr(agreement, "next_wish", any_wish)
    monkeypatch.setattr(agreement, "steps", lambda present, wish: "")


def leave_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "is_known", lambda state, now: True)


def count_who_was_told_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the maintenance, and may keep nothing for us."""
    genuine = maintenance.freeze

    def freeze(state: NodeState) -> None:
        genuine(state)
        state.frozen_seq = 0

    monkeypatch.setattr(maintenance, "freeze", freeze)


def keep_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserved, "keeper", lambda state, group: "")


def keep_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever host has it."""
    monkeypatch.setattr(reserved, "is_there", lambda state, left: True)


def believe_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_of(self: Voter, node: str, boot: int) -> bool:
        return self.accepted is not None and self.accepted.ballot.node == node

    monkeypatch.setattr(Voter, "_is_of", is_of)


def notice_no_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Membership, "_are_twins", lambda *_: False)


def stand_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands down."""
    monkeypatch.setattr(twins, "hear", lambda state, now, beat: None)


def vote_for_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """That began at the same time, and have both been told to stand down."""
    _know_everybody_at_once(monkeypatch)
    monkeypatch.setattr(Peer, "has_to_stand_down", lambda self, now: False)


def vote_before_the_elder_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    _know_everybody_at_once(monkeypatch)


def _know_everybody_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom we have only just met, and as who has only just started. This hides that other rules are missing."""
    monkeypatch.setattr(votes, "_is_one_of_two", lambda *_: False)
    monkeypatch.setattr(votes, "_is_new", lambda *_: False)


def forgive_the_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not heard any more has nothing to say."""
    genuine = twins.advance

    def forgiving(state: NodeState, now: float) -> None:
        alive = state.membership.alive_names(now)
        state.doubled_by = [name for name in state.doubled_by if name in alive]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(twins, "_doubtful", lambda state, now: state.doubled_by)
            genuine(state, now)

    monkeypatch.setattr(twins, "advance", forgiving)


def forget_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NodeState, "keep_silent", lambda *_: None)
    # Who has heard both lives needs no telling.
    monkeypatch.setattr(votes, "_is_outlived", lambda *_: False)
    _know_everybody_at_once(monkeypatch)


def count_as_steered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases go by CLOCK_BOOTTIME instead of the counter."""

    def counted(self: Host, shown: float) -> float:
        return self._steered_at + (shown - self._steered_from) / (self.rate * (1 + self.slew))

    monkeypatch.setattr(Host, "local", Host.kernel)
    monkeypatch.setattr(Host, "true", counted)


def tell_the_gate_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is left of the lease."""
    monkeypatch.setattr(host, "time_out_s", lambda left_s: left_s)


def name_what_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what it likes, whoever has it: the votes alone must keep it from serving that."""
    monkeypatch.setattr(ownership, "owner", lambda *_: None)


def bind_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "may_bind", lambda *_: True)


def serve_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_is_proved", lambda group, state, now, address: address in group.share.named)


def take_what_is_moved_for_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node has had in one of its groups is its own in another, too."""
    genuine = ownership.reconfigure

    def reconfigure(group: Group) -> None:
        genuine(group)
        group.share.named |= dict.fromkeys(group.settings.addresses, 0.0)

    monkeypatch.setattr(ownership, "reconfigure", reconfigure)


def take_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_left", lambda state: ())


def forget_what_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = reloading.reconfigure

    def reconfigure(state, now, settings):  # type: ignore[no-untyped-def]
        genuine(state, now, settings)
        state.former.clear()

    monkeypatch.setattr(reloading, "reconfigure", reconfigure)


def serve_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a group has in the file."""
    monkeypatch.setattr(ownership, "withheld", lambda group: ())


def open_a_gate_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has had to wait for somebody else's change of the firewall, and asks no more whether the lease lasts."""
    genuine = Elements.open

    def however_late(self: Elements, until: Mapping[bytes, float]) -> None:
        if not (worth := self._worth_saying(until)):
            raise GateError("the lease is over")
        self._worth_saying = dict  # type: ignore[method-assign, assignment]
        try:
            genuine(self, worth)
        finally:
            del self._worth_saying

    monkeypatch.setattr(Elements, "open", however_late)


def leave_without_a_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """In maintenance the gate goes altogether, also for what is hidden by it and for what is not ours to leave."""

    def leave(self: Activation) -> None:
        for group in self._groups.values():
            if group.pipeline.tenure is not None:
                group.leave()
        self._gate.close()

    monkeypatch.setattr(Activation, "leave", leave)


def forget_what_is_to_be_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload sees nothing of a group that waits for that."""
    genuine = GroupPipeline.is_settled
    monkeypatch.setattr(GroupPipeline, "is_settled", property(lambda self: self.is_adopting or genuine.__get__(self)))
