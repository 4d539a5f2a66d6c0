"""All that a node knows: its groups, and what they share: who is alive, what the operator ordered, where actions go.

It is changed only inside a step of `Node`; everybody else reads.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Self

import msgspec

from haagent.core.event_kinds import Kind
from haagent.core.events import AnyAction, Note
from haagent.core.group.state import Group
from haagent.core.group.voter import Voter
from haagent.core.history import History
from haagent.core.leases import Leases
from haagent.core.limits import MAX_BELIEVED, STEP
from haagent.core.membership import NEVER, Membership, Peer
from haagent.core.messages import Agreed, Ballot, GroupBeat, Heartbeat
from haagent.core.registers import Orders
from haagent.core.settings import Left, Memory, Settings

MAX_SLOT_S = 0.2
PATIENCE_S = 3.0  # after our gateway was lost, before we believe that it is only we who have lost it


def _credible(memory: Memory) -> Memory:
    """A number that no life of ours has come to was put there by somebody; safety does not depend on it."""
    agreed = memory.agreed
    if agreed is not None and max(agreed.term.round, agreed.version) > MAX_BELIEVED:
        agreed = None
    return msgspec.structs.replace(memory, round=memory.round if memory.round <= MAX_BELIEVED else 0, agreed=agreed)


@dataclass
class NodeState:
    settings: Settings
    boot: int
    host: int
    rng: random.Random
    born: float
    silent_until: float
    leases: Leases  # heard in heartbeats, or remembered
    leases_told: Leases  # that others have heard
    membership: Membership
    orders: Orders
    history: History
    witnesses: tuple[str, ...]
    arbiter_fault: str  # empty: it can be reached
    round: int  # highest of all ballots seen
    agreed: Agreed  # whose votes count, where votes decide (`agreement`)
    left: dict[str, Left]  # may be in place elsewhere (`reserved`), by group, also of those that our file has no more
    version: int  # highest of those of which others have spoken
    next_beat: float  # when the next heartbeat is due
    next_seq: int = 1
    recorded: tuple[tuple[int, str, str], ...] = ()  # at the arbiter: whose address in which group
    agreed_since: float = NEVER
    listen_until: float = NEVER  # we overslept: what we believe of the others may be long out of date
    known_before_stall: tuple[str, ...] = ()
    voice_seq: int = 0  # first heartbeat that says that our silence is over
    has_voice: bool = False
    gateway: bool | None = None
    gateway_lost_at: float = float("inf")
    stop_asked_at: float = NEVER  # NEVER: it was not
    frozen_seq: int = 0  # our first heartbeat in this maintenance
    has_stopped: bool = False
    why_over: str = ""  # this life must end (`identity`); empty: it need not
    stands_down: bool = False  # another host uses this node's name (`twins`)
    clock_fault: str = ""  # why leases cannot be counted here (`clocks`); empty: they can
    doubled_until: float = NEVER  # since it may be that nobody could tell us
    doubled_by: list[str] = field(default_factory=list)  # peers that have told us so
    has_met_anyone: bool = False
    was_alive: tuple[str, ...] = ()  # after the last step
    own_held: int = 0  # how many groups this node holds, but for the leader's
    wall_offset_s: float = 0.0
    must_send: bool = False
    last_sent: float = NEVER
    is_following: bool = False  # the next heartbeat answers a holder's
    deadline: float = float("inf")  # until the first step
    remembered: Memory | None = None
    actions: list[AnyAction] = field(default_factory=list)  # of this step
    groups: dict[str, Group] = field(default_factory=dict)  # all of this node: who gets one depends on all
    former: dict[str, Voter] = field(default_factory=dict)  # of groups that a reload has removed, while they are bound
    plans: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # made at need, good for a moment of a step
    owners: dict[int, list[tuple[str, str, bool]]] | None = None  # of addresses; likewise (`group.ownership`)

    @classmethod
    def begin(cls, settings: Settings, *, boot: int, now: float, rng: random.Random, memory: Memory) -> Self:
        memory, leases = _credible(memory), Leases()
        agreed = memory.agreed or Agreed(Ballot(0, ""), 0, tuple(sorted(settings.voters)))
        leases.hear(now, math.ceil(1000 * memory.lease_s))
        return cls(
            settings=settings,
            boot=boot,
            host=memory.host or boot,
            rng=rng,
            born=now,
            silent_until=now + settings.silence_s(memory.lease_s),
            leases=leases,
            leases_told=Leases(),
            membership=Membership.among(settings, boot),
            orders=Orders.remembered(settings, memory.orders),
            history=History(settings.me, boot),
            witnesses=settings.witnesses,
            arbiter_fault=f"{settings.arbiter} has not answered yet",
            round=memory.round,
            agreed=agreed,
            version=agreed.version,
            left={**memory.reserved},
            agreed_since=now,
            next_beat=now,
        )

    def bare(self) -> Self:
        """Without what follows from the rest, or decides nothing."""
        membership, history = self.membership.bare(), self.history.bare()
        return replace(self, membership=membership, history=history, actions=[], plans={}, owners=None)

    # --- effects

    def do(self, action: AnyAction) -> None:
        self.actions.append(action)

    def note(self, kind: Kind, group: str, text: str, *, now: float) -> None:
        self.do(Note(self.history.add(self.wall(now), kind, group, text)))

    def urge(self) -> None:
        """Something that the peers are waiting for has changed: do not wait for the interval."""
        self.must_send = True

    def look_anew(self) -> None:
        """What was found out for a moment of a step may have changed."""
        self.plans.clear()
        self.owners = None

    def order(self, now: float, key: str, *, on: bool = True) -> None:
        """An order without a target or a time to live."""
        self.orders.give(now, key, wall=self.wall(now), on=on)

    def reach_gateway(self, now: float, *, reachable: bool | None) -> None:
        if reachable is not False:
            self.gateway_lost_at = float("inf")
        elif self.gateway is not False:
            self.gateway_lost_at = now
        self.gateway = reachable
        self.urge()

    def see_round(self, round_: int) -> None:
        self.round = max(self.round, min(round_, MAX_BELIEVED))

    def see_version(self, version: int) -> None:
        self.version = max(self.version, min(version, MAX_BELIEVED))

    def next_round(self, group: Group) -> int:
        """Above all that a vote may depend on, and what a witness says by no more than `STEP` (`credible`)."""
        self.see_round(group.voter.highest_round)
        said = [peer.groups.get(group.name) for name in self.witnesses if (peer := self.membership.peers.get(name))]
        promised = [beat.promised.round for beat in said if beat is not None and beat.promised is not None]
        self.see_round(min(max(promised, default=0), self.round + STEP))
        self.round += 1
        return self.round

    def greet(self, now: float) -> None:
        """Answer a stranger soon, but not as often as a flood of recordings would like."""
        if now >= self.last_sent + self.settings.interval_s / 10:
            self.urge()

    def keep_silent(self, now: float, beat: Heartbeat) -> None:
        """An earlier life of ours may have granted a lease that we have forgotten, and that its sender knows of."""
        lease_s = max(beat.heard_lease_ms, beat.told_lease_ms) / 1000
        silent_until = self.born + self.settings.silence_s(lease_s)
        if lease_s > self.settings.lease_s + 0.001 and silent_until > max(now, self.silent_until):
            self.silent_until, self.voice_seq, self.has_voice = silent_until, 0, False
            self.urge()

    # --- reading

    def longest_lease_s(self, now: float) -> float:
        """That somebody may still count on."""
        heard_ms = max(self.leases.longest_ms(now), self.leases_told.longest_ms(now))
        return max(self.settings.lease_s, heard_ms / 1000)

    def wall(self, now: float) -> float:
        return now + self.wall_offset_s

    @property
    def longest_credible_lease_s(self) -> float:
        """Of another node: one that is longer gets no vote, and is not waited for (`credible`)."""
        return max(60.0, 10 * self.settings.lease_s)

    @property
    def slot_s(self) -> float:
        """How long a candidate waits for each that is before it: time for the other to win and be heard."""
        return min(self.settings.interval_s, MAX_SLOT_S)

    @property
    def is_stopping(self) -> bool:
        return self.stop_asked_at > NEVER

    @property
    def stop_by(self) -> float:
        """Until then an agent that is to stop waits for the others to know of the maintenance."""
        return self.stop_asked_at + self.settings.lease_s

    def may_vote(self, now: float) -> bool:
        """Our restart silence is over and, in `available`, all living peers know it.

        Candidates leave silent voters out of the electorate. If two that started together each took the other for
        silent still, both would take; so none acts before the others have heard that it is to be counted.
        """
        if now < self.silent_until or self.stands_down or self.clock_fault:
            return False
        return self.settings.consistent or self.has_voice or self._is_voice_known(now)

    def may_vote_on(self, group: Group, now: float) -> bool:
        return now >= group.silent_until and self.may_vote(now)

    def _is_voice_known(self, now: float) -> bool:
        is_known = self.voice_seq > 0 and all(peer.echoed_seq >= self.voice_seq for peer in self.membership.alive(now))
        return is_known or now >= self.silent_until + self.settings.lease_s

    def raise_voice(self, now: float) -> None:
        """Say at once that the silence is over, and keep in mind when all have heard it."""
        if now < self.silent_until:
            return
        if not self.voice_seq:
            self.voice_seq = self.next_seq
            self.urge()
        self.has_voice = self.has_voice or self._is_voice_known(now)

    def may_act_alone(self, now: float) -> bool:
        """In `available` a node that has met nobody since it started waits: it may be the one that is cut off."""
        if self.settings.consistent or self.has_met_anyone or len(self.settings.nodes) == 1 or self.is_arbitrated:
            return True
        return now >= self.born + self.settings.alone_after_s

    @property
    def votes_count(self) -> bool:
        """In `consistent` an arbiter decides alone, in `available` it is asked on top of the votes."""
        return not (self.settings.arbiter and self.settings.consistent)

    @property
    def is_arbitrated(self) -> bool:
        """An arbiter outside gives the leases, or must agree to them (`available`, while it can be reached)."""
        return bool(self.settings.arbiter) and (self.settings.consistent or not self.arbiter_fault)

    def is_quorate(self, now: float) -> bool:
        """This node is on the side that may hold, as far as it can see."""
        if self.settings.arbiter and self.settings.consistent:
            return not self.arbiter_fault
        return not self.settings.consistent or len(self.voters_heard(now)) >= self.majority

    def isolation(self, now: float, name: str = "") -> str:
        """Why the node (empty: this one) is the one that is cut off, as far as gateways tell; empty: it is not.

        A gateway that no living node reaches is itself away: that is no reason for anybody to let go. As long as there
        are others there is no hurry: they are given time to notice the same.
        """
        if not self.settings.gateway_guard or self.settings.consistent:
            return ""
        name = name or self.settings.me
        word = {self.settings.me: self.gateway}
        word |= {peer.name: peer.beat.gateway for peer in self.membership.alive(now) if peer.beat is not None}
        if word.get(name) is not False:
            return ""
        is_patient = name == self.settings.me and now < self.gateway_lost_at + PATIENCE_S
        if len(word) > 1 and (is_patient or True not in word.values()):
            return ""
        return f"{name} does not reach its gateway"

    @property
    def is_agreed(self) -> bool:
        """Whose votes count is agreed, not read from the file (`agreement`)."""
        return self.settings.has_agreed_voters

    @property
    def voters(self) -> tuple[str, ...]:
        """Whose votes count."""
        return self.agreed.voters if self.is_agreed else self.settings.voters

    @property
    def majority(self) -> int:
        return len(self.agreed.voters) // 2 + 1

    def is_at_one(self, beat: Heartbeat | None) -> bool:
        """Votes count between its sender and us: rule 1 of `agreement`. A release before it says nothing."""
        if beat is None or beat.policy not in ("", self.settings.policy):
            return False
        return not self.is_agreed or beat.agreed in (None, self.agreed)

    def voters_heard(self, now: float) -> list[str]:
        """Of those that are agreed."""
        peers = self.membership.alive(now)
        heard = {peer.name for peer in peers if self.is_at_one(peer.beat)}
        return [name for name in self.agreed.voters if name in {self.settings.me, *heard}]

    def beats(self, now: float, group: str) -> list[tuple[Peer, GroupBeat]]:
        """What each living peer says of `group`, as long as that counts."""
        alive = self.membership.alive(now)
        # As `Peer.speaks_of`, which is too slow for what is asked a thousand times in a step.
        told = [(peer, peer.told.get(group)) for peer in alive]
        return [(peer, peer.groups[group]) for peer, each in told if each is not None and now < each.alive_until]

    def unfitness(self, name: str, now: float) -> str:
        """Why the node may hold nothing at all; empty: it may."""
        if name in self.witnesses:
            return f"{name} is a witness"
        if self.orders.is_standby(name):
            return f"{name} is in standby"
        if self.is_agreed and name not in self.agreed.voters:
            return f"{name} is not among the voters that the nodes agreed on: {', '.join(self.agreed.voters)}"
        if name == self.settings.me:
            is_stopping = f"{name} is stopping" if self.is_stopping else ""
            return self.clock_fault or ("another host uses this node's name" if self.stands_down else is_stopping)
        peer = self.membership.peers.get(name)
        if peer is None:
            return f"{name} is not in the configuration of {self.settings.me}"
        if not peer.is_alive(now):
            return f"{name} is offline"
        if any(life.boot == peer.boot for life in peer.twins(now)):
            return f"two hosts use the name {name}"
        return (
            "" if self.is_at_one(peer.beat) else f"{name} does not agree with {self.settings.me} on whose votes count"
        )
