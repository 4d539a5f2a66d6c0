"""A node of the cluster as a pure machine: `step(now, *events) -> actions`, and a `deadline`.

The only door. Everything that a node decides, it decides in here, from what it was told and nothing else: no clock, no
I/O, no chance but the generator it was given. The same calls give the same answers, which is what the simulator, the
replay of a recorded trace, and this project's safety claims stand on.

Each step: first spent leases are let go, whatever the events are; then the events are taken in, in the order in which
they came; then every group is brought to its fixed point; then, if something changed that peers wait for or the
interval is over, one heartbeat goes out. Whoever calls gives all events that wait, so that a hundred groups which are
taken at the same moment cost one step over all groups, and not a hundred. It must call again at `deadline` with `Woke`,
if nothing else happens sooner.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Self

from haagent.core import commands, heartbeat, report
from haagent.core.election import Election
from haagent.core.events import (
    URGENCY,
    AnyAction,
    AnyEvent,
    ArbiterChanged,
    Asked,
    ClockSet,
    Drop,
    Farewell,
    Fenced,
    GatewayChanged,
    HealthChanged,
    HeartbeatHeard,
    Noticed,
    Reconfigured,
    Remember,
    Send,
    Stopped,
    StopRequested,
    Woke,
)
from haagent.core.group import arbitration, candidacy, handover
from haagent.core.group.state import Group
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.kinds import Kind
from haagent.core.limits import MAX_TEXT
from haagent.core.membership import NEVER, Peer, Verdict
from haagent.core.messages import Heartbeat
from haagent.core.node_state import PATIENCE_S, NodeState
from haagent.core.settings import LEADER, GroupSettings, Memory, Settings
from haagent.core.view import View

FOLLOWING = 1.1  # intervals
TURNS = 50  # in an interval: two nodes that answer the same heartbeat do so one turn apart


def _has_died(peer: Peer | None) -> bool:
    return peer is not None and peer.beat is not None and peer.beat.died


class Node:
    def __init__(
        self,
        settings: Settings,
        *,
        boot: int,
        now: float,
        rng: random.Random,
        memory: Memory | None = None,
        wall_offset_s: float = 0.0,
    ) -> None:
        self.scene = NodeState.begin(settings, boot=boot, now=now, rng=rng, memory=memory or Memory())
        self.scene.wall_offset_s = wall_offset_s
        self.elections = {group.name: self._election(group, now) for group in settings.groups}
        for name in memory.served if memory is not None and self.scene.orders.in_maintenance else ():
            if name in self.elections:
                self.elections[name].group.service.by = settings.me  # its agent died, and was started again
        self._forget_step()

    def _forget_step(self) -> None:
        self.heeded: list[AnyEvent] = []  # of the last step's events, all but mere copies
        self.is_unmoved = False  # the last step changed nothing that any later decision depends on

    def _election(self, settings: GroupSettings, now: float, *, silent_until: float = NEVER) -> Election:
        return Election(self.scene, Group.new(settings, now, floor=self.scene.round, silent_until=silent_until))

    @classmethod
    def of(cls, scene: NodeState, groups: Mapping[str, Group]) -> Self:
        """One that knows this; it owns these values from now on."""
        node = cls.__new__(cls)
        node.scene = scene
        node.elections = {name: Election(scene, group) for name, group in groups.items()}
        node._forget_step()
        return node

    # ------------------------------------------------------------------ the door

    @property
    def deadline(self) -> float:
        """Call again by then, with `Woke` if nothing else happens sooner."""
        return self.scene.deadline

    def step(self, now: float, *events: AnyEvent) -> list[AnyAction]:
        scene = self.scene
        scene.actions = []
        self._forget_step()
        if scene.has_stopped:
            return []
        self._gather()
        if scene.deadline == float("inf"):
            scene.born = now  # the first step: until now the links were shut, and nobody could be heard
        self._notice_stall(now)
        for election in self.elections.values():
            election.expire(now)
        has_learnt = False
        for event in events:
            verdict = self._take_in(now, event)
            has_learnt = has_learnt or verdict is Verdict.NEW
            if verdict is not Verdict.OLD:
                self.heeded.append(event)
        if not has_learnt and now < scene.deadline and not scene.must_send and not scene.actions:
            self.is_unmoved = not self.heeded  # a stranger is remembered, and greeted
            return []  # copies, or recordings: a flood of them must stay cheap
        self._notice_members(now)
        scene.own_held = sum(one.group.state in HOLDING for name, one in self.elections.items() if name != LEADER)
        scene.plans.clear()  # what has come may have changed them
        for election in self.elections.values():
            election.advance(now)
        self._finish(now)
        scene.raise_voice(now)
        if scene.must_send or now >= scene.next_beat:
            self._send(now)
        elif not scene.has_stopped:
            self._part(now)
        self._remember()
        scene.deadline = self._deadline(now)
        scene.actions.sort(key=lambda action: URGENCY.index(type(action)))
        return scene.actions

    @property
    def refused(self) -> Mapping[str, int]:
        """Authentic heartbeats that were not believed, by cause."""
        return self.scene.membership.refused

    def view(self, now: float) -> View:
        self._gather()
        return report.view(self.scene, self.elections, now)

    def _gather(self) -> None:
        """Who should hold a group depends on all of them."""
        self.scene.groups = {name: election.group for name, election in self.elections.items()}
        self.scene.plans.clear()

    # ------------------------------------------------------------------ taking in

    def _take_in(self, now: float, event: AnyEvent) -> Verdict:
        scene = self.scene
        scene.plans.clear()
        match event:
            case Woke():
                pass
            case HeartbeatHeard(beat, link):
                return self._hear(now, beat, link)
            case HealthChanged(group, ok, why):
                self._judge_health(now, group, "" if ok else why[:MAX_TEXT] or "a check fails")
            case GatewayChanged(reachable):
                scene.reach_gateway(now, reachable=reachable)
            case Fenced(node, how):
                self._fenced(now, node, how)
            case ArbiterChanged(reachable, why):
                self._judge_arbiter(now, "" if reachable else why[:MAX_TEXT])
            case Asked():
                scene.do(commands.answer(scene, self.elections, now, event))
            case Reconfigured(settings):
                self._reconfigure(now, settings)
            case ClockSet(offset_s):
                scene.wall_offset_s = offset_s
            case Noticed(kind, group, text):
                scene.note(kind, group, text, now=now)
            case StopRequested():
                scene.is_stopping = True
                scene.note(Kind.STOPPING, "", "asked to stop", now=now)
            case _ if (election := self.elections.get(event.group)) is not None:
                election.told(now, event)
        return Verdict.NEW

    def _notice_stall(self, now: float) -> None:
        """A node that was not scheduled (stopped, swapped, a frozen host) believes what was true when it fell asleep.

        The silence that it now sees is its own: it listens for one lease before it tries to take anything.
        """
        scene = self.scene
        late_s = now - scene.deadline
        if late_s <= scene.settings.interval_s:
            return
        scene.listen_until = now + scene.settings.lease_s
        scene.known_before_stall = scene.was_alive
        scene.note(Kind.STALLED, "", f"this node was not running for {late_s:.3f} s; listening before acting", now=now)

    def _hear(self, now: float, beat: Heartbeat, link: str) -> Verdict:
        scene = self.scene
        if beat.node not in scene.membership.peers or beat.cluster != scene.settings.cluster:
            return Verdict.OLD
        before = scene.membership.peers[beat.node].boot
        verdict = scene.membership.hear(now, beat, link)
        if verdict is Verdict.STRANGER:
            scene.greet(now)  # neither can confirm the other before both have been heard: do not let it wait
        if verdict is not Verdict.NEW:
            return verdict
        if scene.membership.peers[beat.node].boot != before:
            scene.urge()
        if any(group.tenure is not None and group.name != LEADER for group in beat.groups):
            self._follow(now, beat.node)
        for order in scene.orders.merge(now, beat.orders):
            scene.note(Kind.ORDER, "", commands.describe(order), now=now)
            scene.urge()
        scene.history.hear(beat)
        scene.longest_lease_s = max(scene.longest_lease_s, beat.lease_ms / 1000)
        for group in beat.groups:
            for ballot in (group.promised, group.want, group.claim, group.released):
                if ballot is not None and ballot.round > scene.round:
                    scene.see_round(ballot.round)
            if (election := self.elections.get(group.name)) is not None:
                election.hear(now, beat, group)
        return verdict

    def _follow(self, now: float, leader: str) -> None:
        """A holder has spoken: echo it at once, and not when our own interval is over.

        Its proof is then as young as can be, we are not bound for longer than it counts on us, and not one message more
        is sent. One after the other, so that each that answers has heard those before it. Who answers waits for the
        next one a little longer than an interval. Of several holders the first by name leads.
        """
        scene, interval_s = self.scene, self.scene.settings.interval_s
        if now >= scene.last_sent + interval_s / 2:
            followers = [name for name in scene.settings.voters if name != leader]
            turn_s = followers.index(scene.settings.me) * interval_s / TURNS
            scene.next_beat = min(scene.next_beat, now + turn_s)  # a holder that speaks often puts nobody off
            scene.is_following = True
        elif not scene.own_held or leader < scene.settings.me:
            scene.next_beat = now + FOLLOWING * interval_s

    def _judge_health(self, now: float, group: str, why_unfit: str) -> None:
        election = self.elections.get(group)
        if election is None or election.group.why_unfit == why_unfit:
            return
        election.group.why_unfit = why_unfit
        text = f"not fit to hold it: {why_unfit}" if why_unfit else "fit to hold it again"
        self.scene.note(Kind.UNFIT if why_unfit else Kind.FIT, group, text, now=now)
        self.scene.urge()

    def _judge_arbiter(self, now: float, fault: str) -> None:
        scene = self.scene
        if scene.arbiter_fault == fault:
            return
        scene.arbiter_fault = fault
        if not fault:
            text = f"{scene.settings.arbiter} answers and gives the leases"
        elif scene.settings.consistent:
            text = f"{fault}; this node releases each group when its lease ends, and takes none"
        else:
            text = f"{fault}; the nodes' own votes decide until it answers"
        scene.note(Kind.NO_LEASES if fault else Kind.LEASES, "", text[:MAX_TEXT], now=now)
        scene.urge()
        for election in self.elections.values() if fault else ():
            arbitration.lost(election.group, scene)

    def _fenced(self, now: float, node: str, how: str) -> None:
        """Everybody is told; whoever waited for it need not wait any more."""
        scene = self.scene
        if node not in scene.membership.peers or scene.membership.peers[node].is_alive(now):
            return
        scene.order(now, f"down/{node}")
        scene.note(Kind.FENCED, "", f"{node} is down: {how or 'its fence says so'}", now=now)
        scene.urge()
        for election in self.elections.values():
            candidacy.hurry(election.group, now)

    def _notice_members(self, now: float) -> None:
        """Arrivals and departures are history, and reason to be heard at once."""
        scene = self.scene
        alive = {peer.name for peer in scene.membership.alive(now)}
        before = set(scene.was_alive)
        for name in sorted(alive - before):
            scene.has_met_anyone = True
            scene.note(Kind.ONLINE, "", f"{name} is online", now=now)
            if scene.orders.is_down(name):
                scene.order(now, f"down/{name}", on=False)
            scene.urge()
        for name in sorted(before - alive):
            peer = scene.membership.peers.get(name)
            stopped = peer is not None and peer.beat is not None and peer.beat.stopping
            silence_ms = 1000 * (now - peer.heard_at) if peer is not None else 0.0
            if stopped:
                why = "lost its agent; its guardian released everything" if _has_died(peer) else "has stopped"
            else:
                why = f"is offline: silent for {silence_ms:.0f} ms"
            scene.note(Kind.OFFLINE, "", f"{name} {why}", now=now)
        scene.was_alive = tuple(sorted(alive))

    def _reconfigure(self, now: float, settings: Settings) -> None:
        """Groups, preferences and failback change live. Who votes and for how long does not: the shell refuses that."""
        scene = self.scene
        kept = {group.name: group for group in settings.groups}
        for name, election in list(self.elections.items()):
            if name not in kept:
                election.drop(now, "the group was removed from the configuration")
                del self.elections[name]
            else:
                election.group.settings = kept[name]
        for name, group in kept.items():
            if name not in self.elections:
                # It may have been here before: no vote for one lease, as after a restart.
                silent_until = now + settings.silence_s(scene.longest_lease_s)
                self.elections[name] = self._election(group, now, silent_until=silent_until)
        scene.settings, scene.witnesses = settings, settings.witnesses
        scene.membership.reconfigure(settings)
        scene.orders.reconfigure(settings)
        self._gather()
        scene.note(Kind.RELOADED, "", f"configuration {settings.config_hash} is in force", now=now)
        scene.urge()

    # ------------------------------------------------------------------ leaving

    def _finish(self, now: float) -> None:
        """When asked to stop: nothing held any more, or frozen by maintenance, ends this life."""
        scene = self.scene
        if not scene.is_stopping:
            return
        elections = self.elections.values()
        if not scene.orders.in_maintenance:
            for election in elections:
                election.abandon(now)
            if any(election.group.state is not GroupState.IDLE for election in elections):
                return
        self._send(now, stopping=True)
        scene.do(Stopped())
        scene.has_stopped = True

    # ------------------------------------------------------------------ sending

    def _send(self, now: float, *, stopping: bool = False) -> None:
        scene = self.scene
        seq = self._next_seq(now)
        scene.must_send, scene.last_sent = False, now
        # Drift-free: the next beat is due one interval after this one was due, unless we are far behind.
        interval_s = scene.settings.interval_s
        if now >= scene.next_beat:
            patience_s = FOLLOWING * interval_s if scene.is_following else interval_s
            scene.next_beat = max(scene.next_beat + patience_s, now + interval_s / 2)
            scene.is_following = False
        if scene.may_vote(now):
            for election in list(self.elections.values()):
                election.vote_for_self(now, seq)
        scene.do(Send(heartbeat.heartbeat(scene, self.elections, now, seq, stopping=stopping)))

    def _part(self, now: float) -> None:
        """Leave words with the shell for the moment at which a group is let go in favour of its successor.

        Of several the first: it is let go first, and the heartbeats about it claim the others still.
        """
        scene = self.scene
        drop = next((action for action in scene.actions if isinstance(action, Drop)), None)
        if drop is None or drop.group not in self.elections:
            return
        word = handover.farewell(self.elections[drop.group].group, now)
        if word is not None:
            beat = heartbeat.heartbeat(scene, self.elections, now, self._next_seq(now))
            scene.do(Farewell(drop.group, drop.ballot, heartbeat.with_word(beat, word)))

    def _next_seq(self, now: float) -> int:
        scene = self.scene
        seq = scene.next_seq
        scene.next_seq += 1
        scene.membership.sent(seq, now)
        return seq

    def _remember(self) -> None:
        scene = self.scene
        # The longest lease that anybody uses: our silence after a restart must cover what we have accepted.
        served: tuple[str, ...] = ()
        if scene.orders.in_maintenance:
            served = tuple(name for name, one in self.elections.items() if one.group.service.by == scene.settings.me)
        memory = Memory(scene.round, scene.longest_lease_s, scene.orders.lasting, served)
        if memory != scene.remembered:
            scene.remembered = memory
            scene.do(Remember(memory))

    def _deadline(self, now: float) -> float:
        scene = self.scene
        if scene.must_send:
            return now  # sending has moved something on: say that too
        due = [scene.next_beat, scene.membership.next_death(now), scene.membership.next_silence(now)]
        ends = [scene.silent_until, scene.silent_until + scene.settings.lease_s]
        if scene.settings.gateway_guard:
            ends.append(scene.gateway_lost_at + PATIENCE_S)
        due += [instant for instant in ends if instant > now]
        due += [election.deadline(now) for election in self.elections.values()]
        return min(due)
