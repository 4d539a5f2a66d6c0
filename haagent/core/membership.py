"""Who is alive: the echo rule.

Every heartbeat names, for each peer, the newest heartbeat of that peer which its sender has received (`heard`). A peer
counts as alive only until `dead_after` past the moment at which *we sent* the newest heartbeat that it echoed. One
rule, three consequences:

* It is two-way. A peer that we hear but that does not hear us stops echoing, and is dead.
* It is replay-proof. A life is named by a random `boot`; a heartbeat recorded in an earlier life, of the peer or of
  ours, echoes nothing that we sent lately. A life that was followed by another never comes back.
* It never lets a late datagram prolong anything: what counts is when we sent, not when we received.

What a peer says of one group lives no longer than the peer itself would, had nothing been heard but the slices with
that group (`slices`).

A peer is *confirmed* in a life once a heartbeat of that life has echoed us. Only confirmed lives are listened to:
claims and votes of anybody else could be a recording. Until then we merely echo the stranger, so that it can confirm
us. Within a confirmed life every heartbeat with a higher `seq` is taken, also if its echo is old: the peer is not alive
then, but its claims bind us as a voter, which is always safe (a voter that waits too long harms nobody).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple, Self

import msgspec

from haagent.core.limits import MAX_GROUPS, MAX_TWINS
from haagent.core.messages import GroupBeat, Heard, Heartbeat
from haagent.core.settings import Settings

NEVER = float("-inf")
SUSPECT_INTERVALS = 1.5  # then a heartbeat is overdue: whoever has to be asked is asked now, to have answered in time
MAX_PAST = 8  # lives of one name
MAX_STRANGERS = 8  # of one name: a flood of recordings must neither fill memory nor hide the one that is real


def _age_s(beat: Heartbeat) -> float:
    """An older release does not say it, and does not know how to stand down: so the other has to."""
    return beat.age_ms / 1000 or float("inf")


class Verdict(Enum):
    NEW = "the newest view of a confirmed life: read it"
    OLD = "a copy, or older than what we have: nothing to learn but that the link works"
    STRANGER = "a life that has not echoed us yet: it may be a recording"
    TWIN = "alive, and so is an elder life of its name: not a word of it counts"


@dataclass
class Rival:
    """A life of a peer's name that was fresh while another one was alive."""

    heard: Heard
    echoed_seq: int  # newest of our heartbeats that it has echoed
    until: float = NEVER  # up to then it has to stand down


@dataclass
class Newest:
    """Which slices of the newest heartbeat have come."""

    seq: int = 0
    parts: set[int] = field(default_factory=set)

    def takes(self, beat: Heartbeat) -> bool:
        """It is neither older nor a copy."""
        if beat.seq > self.seq:
            self.seq, self.parts = beat.seq, set()
        is_new = beat.seq == self.seq and beat.part not in self.parts
        if is_new:
            self.parts.add(beat.part)
        return is_new


class Told(NamedTuple):
    """When something was said of a group."""

    seq: int
    heard_at: float
    alive_until: float  # of its sender, as far as was known then


@dataclass
class Peer:
    """What is known of one other node."""

    name: str
    boot: int | None = None  # the confirmed life
    met_at: float = NEVER  # when it was confirmed
    first_echoed_seq: int = 0  # and with which
    newest: Newest = field(default_factory=Newest)  # of that life
    whole_seq: int = 0  # newest heartbeat of it of which all slices have come
    beat: Heartbeat | None = None  # what its newest slice says of the node, without what is kept apart
    groups: dict[str, GroupBeat] = field(default_factory=dict)  # what it said last of each
    told: dict[str, Told] = field(default_factory=dict)  # and when that was
    stored: Heard | None = None  # newest record of ours that it has
    strangers: dict[int, Heard] = field(default_factory=dict)  # newest heartbeats of lives not confirmed yet
    past: list[int] = field(default_factory=list)  # lives that were followed by another
    elder_heard_at: float = NEVER  # when the last of these was heard last, unless it is the younger of two (`twins`)
    lives: set[int] = field(default_factory=set)  # two that were heard in our own first moments (`votes`)
    rivals: dict[int, Rival] = field(default_factory=dict)  # of the confirmed life, by their boot (`twins`)
    echoed_seq: int = 0  # newest of our heartbeats of which the confirmed life has echoed a slice
    known_seq: int = 0  # and of which it has echoed all
    alive_until: float = NEVER
    heard_at: float = NEVER
    agreed_since: float = NEVER  # since when it says what it says of who votes
    links: dict[str, float] = field(default_factory=dict)  # interface -> when last heard on it
    newest_on: dict[str, Newest] = field(default_factory=dict)  # interface -> what came over it

    @property
    def seq(self) -> int:
        """Newest heartbeat of the confirmed life."""
        return self.newest.seq

    @property
    def is_whole(self) -> bool:
        """All slices of that have come."""
        return self.beat is not None and len(self.newest.parts) >= self.beat.parts

    def take_in(self, beat: Heartbeat) -> None:
        self.beat = msgspec.structs.replace(beat, groups=(), records=(), recorded={})
        now_told = Told(beat.seq, self.heard_at, self.alive_until)
        for group in beat.groups:
            self.groups[group.name], self.told[group.name] = group, now_told
        if self.is_whole:
            self.whole_seq = beat.seq
        if self.is_whole or len(self.told) > MAX_GROUPS + 1:
            for name in [name for name, told in self.told.items() if told.seq < beat.seq]:
                del self.groups[name], self.told[name]
        if len(self.told) > MAX_GROUPS + 1:  # named by one heartbeat: nobody has so many
            self.groups, self.told = {}, {}

    def prolong(self, seq: int) -> None:
        """What its other slices have said was said at the same moment as the echo that has come now."""
        for name, told in self.told.items() if len(self.newest.parts) > 1 else ():
            if told.seq == seq:
                self.told[name] = told._replace(alive_until=self.alive_until)

    def speaks_of(self, group: str, now: float) -> bool:
        """What it said of the group counts still."""
        return group in self.told and now < min(self.told[group].alive_until, self.alive_until)

    def is_alive(self, now: float) -> bool:
        return now < self.alive_until

    @property
    def is_stopping(self) -> bool:
        return self.beat is not None and self.beat.stopping

    @property
    def silent_ms(self) -> int:
        """It has just started: for so long after its last heartbeat it gives no vote."""
        return self.beat.silent_ms if self.beat is not None else 0

    def twins(self, now: float) -> tuple[Heard, ...]:
        """The lives of its name that have to stand down."""
        rivals = [rival.heard for rival in self.rivals.values() if now < rival.until]
        return tuple(Heard(one.boot, self.seq) if one.boot == self.boot else one for one in rivals)

    def has_to_stand_down(self, now: float) -> bool:
        """As the life of two that we keep to, since they began at the same time."""
        return bool(self.rivals) and any(life.boot == self.boot for life in self.twins(now))

    def next_echo(self) -> Heard | None:
        """What our next heartbeat says that we have heard of this peer."""
        if self.strangers:  # in turn: one of them may be real, the others recordings
            boot = next(iter(self.strangers))
            heard = self.strangers[boot] = self.strangers.pop(boot)
            return heard
        return None if self.boot is None else Heard(self.boot, self.seq, self.seq - self.whole_seq)


@dataclass
class Membership:
    """All peers of `settings.me`, and when each of our own recent heartbeats was sent."""

    settings: Settings
    boot: int
    peers: dict[str, Peer]
    refused: dict[str, int] = field(default_factory=dict)  # authentic, and yet worth nothing: by cause
    _sent: dict[int, float] = field(default_factory=dict)
    _alive: tuple[float, list[Peer]] | None = None  # asked many times in one step

    @classmethod
    def among(cls, settings: Settings, boot: int) -> Self:
        return cls(settings, boot, {node.name: Peer(node.name) for node in settings.nodes if node.name != settings.me})

    def bare(self) -> Self:
        """Without what follows from the rest."""
        return replace(self, _alive=None)

    def reconfigure(self, settings: Settings) -> None:
        names = [node.name for node in settings.nodes if node.name != settings.me]
        self.settings, self._alive = settings, None
        self.peers = {name: self.peers.get(name) or Peer(name) for name in names}

    # --- our own heartbeats

    def sent(self, seq: int, now: float) -> None:
        self._sent[seq] = now
        # An echo older than two leases proves nothing that is still worth anything.
        horizon = now - 2 * self.settings.lease_s
        while self._sent[oldest := next(iter(self._sent))] < horizon:
            del self._sent[oldest]

    def sent_at(self, boot: int, seq: int) -> float | None:
        """When we sent heartbeat `seq`, if it is a recent one of this very life."""
        return self._sent.get(seq) if boot == self.boot else None

    # --- theirs

    def hear(self, now: float, beat: Heartbeat, link: str) -> Verdict:
        self._alive = None
        peer = self.peers[beat.node]
        echo = self._echo(beat)
        alive_until = self._sent.get(echo.seq, NEVER) + self.settings.dead_after_s
        is_fresh = now < alive_until
        if beat.boot != peer.boot:
            # A datagram of a life that has just ended may come late. What it echoes is older than what its successor
            # has echoed: the successor has heard us since. Only what is newer than that is believed.
            if is_fresh and peer.is_alive(now) and self._are_twins(peer, now, beat, echo.seq):
                if not self._gives_way(peer, now, beat):
                    self.refuse("doubled")
                    return Verdict.TWIN
            elif not is_fresh or echo.seq <= peer.echoed_seq:
                if beat.boot in peer.past:
                    self.refuse("replayed")
                    return Verdict.OLD
                self.refuse("unconfirmed")
                if not peer.is_alive(now):
                    self._meet(peer, Heard(beat.boot, beat.seq, beat.seq))
                return Verdict.STRANGER
            self._begin_life(peer, now, beat.boot, echo.seq)
        peer.links[link] = now
        if not peer.newest_on.setdefault(link, Newest()).takes(beat):
            self.refuse("replayed")
            return Verdict.OLD
        if not peer.newest.takes(beat):
            return Verdict.OLD
        if peer.beat is None or peer.beat.agreed != beat.agreed:
            peer.agreed_since = now
        peer.heard_at = now
        peer.strangers.clear()
        peer.echoed_seq = max(peer.echoed_seq, echo.seq)
        peer.known_seq = max(peer.known_seq, echo.seq - max(0, echo.behind))
        peer.stored = beat.recorded.get(self.settings.me, peer.stored)
        if beat.stopping:
            peer.alive_until = NEVER
        elif is_fresh and alive_until > peer.alive_until:
            peer.alive_until = alive_until
            peer.prolong(beat.seq)
        peer.take_in(beat)
        return Verdict.NEW

    def refuse(self, cause: str) -> None:
        self.refused[cause] = self.refused.get(cause, 0) + 1

    def _echo(self, beat: Heartbeat) -> Heard:
        """Which heartbeat of this life it echoes; 0: none.

        One that we have not sent yet would be above all that a later life of the peer can echo.
        """
        me, newest = self.settings.me, next(reversed(self._sent), 0)
        echoes = [echo for echo in (beat.heard.get(me), *beat.doubled.get(me, ())) if echo is not None]
        ours = [echo for echo in echoes if echo.boot == self.boot and echo.seq <= newest]
        return max(ours, key=lambda echo: echo.seq, default=Heard(self.boot, 0))

    @staticmethod
    def _meet(peer: Peer, heard: Heard) -> None:
        peer.strangers[heard.boot] = heard
        if len(peer.strangers) > MAX_STRANGERS:
            del peer.strangers[next(iter(peer.strangers))]

    @staticmethod
    def _begin_life(peer: Peer, now: float, boot: int, echoed_seq: int) -> None:
        is_back = boot in peer.past  # the elder of two
        if peer.boot is not None:
            peer.elder_heard_at = NEVER if is_back else peer.heard_at
            peer.past = [*(life for life in peer.past if life != boot), peer.boot][-MAX_PAST:]
        peer.met_at, peer.first_echoed_seq = NEVER if is_back else now, echoed_seq
        peer.boot, peer.newest, peer.whole_seq, peer.known_seq, peer.beat = boot, Newest(), 0, 0, None
        peer.stored = None
        peer.groups, peer.told, peer.newest_on = {}, {}, {}
        peer.alive_until = NEVER

    # --- two at once (`twins`)

    def _are_twins(self, peer: Peer, now: float, beat: Heartbeat, echoed_seq: int) -> bool:
        """Both this life and the confirmed one are alive: one has echoed between two echoes of the other."""
        known = peer.rivals.get(beat.boot, Rival(Heard(beat.boot, 0), echoed_seq))
        earlier_seq = min(known.echoed_seq, echoed_seq)
        self._know(peer, Rival(Heard(beat.boot, beat.seq, beat.seq), echoed_seq, known.until))
        is_back = beat.boot in peer.past and echoed_seq > peer.first_echoed_seq
        return now < known.until or is_back or peer.first_echoed_seq < earlier_seq < peer.echoed_seq

    def _gives_way(self, peer: Peer, now: float, beat: Heartbeat) -> bool:
        """Whether the confirmed life does, as the younger one. If that cannot be told both have to stand down."""
        assert peer.boot is not None
        assert peer.beat is not None
        mine, other = Rival(Heard(peer.boot, peer.seq, peer.seq), peer.echoed_seq), peer.rivals[beat.boot]
        elder_s = _age_s(beat) - _age_s(peer.beat) - (now - peer.heard_at)
        if math.isnan(elder_s):  # of two that do not say it the one that was there first
            elder_s = float("inf") if beat.boot in peer.past and now >= other.until else float("-inf")
        is_clear, until = abs(elder_s) >= self.settings.lease_s, now + self.settings.lease_s
        if elder_s > 0 or not is_clear:
            self._know(peer, replace(mine, until=until))
        if elder_s <= 0 or not is_clear:
            self._know(peer, replace(other, until=until))
        return elder_s > 0

    @staticmethod
    def _know(peer: Peer, rival: Rival) -> None:
        peer.rivals.pop(rival.heard.boot, None)
        peer.rivals[rival.heard.boot] = rival
        if len(peer.rivals) > MAX_TWINS:
            del peer.rivals[next(iter(peer.rivals))]

    def doubled(self, now: float) -> dict[str, tuple[Heard, ...]]:
        """By name the lives that have to stand down."""
        found = {peer.name: peer.twins(now) for peer in self.peers.values() if peer.rivals}
        return {name: twins for name, twins in found.items() if twins}

    # --- reading

    def is_heard(self, peer: Peer, now: float) -> bool:
        """Its heartbeats arrive, whether or not they echo ours."""
        return now < peer.heard_at + self.settings.heard_for_s and not peer.is_stopping

    def deaf(self, now: float) -> Iterator[Peer]:
        """Those that we hear, and that do not hear us."""
        return (peer for peer in self.peers.values() if not peer.is_alive(now) and self.is_heard(peer, now))

    def alive(self, now: float) -> list[Peer]:
        if self._alive is None or self._alive[0] != now:
            self._alive = (now, [peer for peer in self.peers.values() if peer.is_alive(now)])
        return self._alive[1]

    def alive_names(self, now: float) -> list[str]:
        return [self.settings.me, *(peer.name for peer in self.alive(now))]

    def next_echoes(self) -> dict[str, Heard]:
        return {peer.name: echo for peer in self.peers.values() if (echo := peer.next_echo()) is not None}

    def next_overdue(self, now: float) -> float:
        """When the first of the living should have been heard again."""
        overdue_s = SUSPECT_INTERVALS * self.settings.interval_s
        return min((peer.heard_at + overdue_s for peer in self.alive(now)), default=float("inf"))

    def next_death(self, now: float) -> float:
        """When the first of the living, or what one says of some group, will have died if nothing more is heard."""
        alive = self.alive(now)
        ends = [told.alive_until for peer in alive for told in peer.told.values() if told.alive_until > now]
        return min([*ends, *(peer.alive_until for peer in alive)], default=float("inf"))

    def next_silence(self, now: float) -> float:
        """When the first of the deaf will count as unheard as well."""
        return min((peer.heard_at + self.settings.heard_for_s for peer in self.deaf(now)), default=float("inf"))
