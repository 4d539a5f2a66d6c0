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
from typing import Self

from haagent.core import (
    agreement,
    clocks,
    commands,
    credible,
    election,
    events,
    heartbeat,
    identity,
    maintenance,
    reload,
    report,
    reserved,
    twins,
    votes,
)
from haagent.core.event_kinds import Kind
from haagent.core.events import URGENCY, AnyAction, AnyEvent, Drop, Farewell, Relinquish, Remember, Send, Stopped
from haagent.core.group import arbitration, candidacy, handover, ownership
from haagent.core.group.transitions import HOLDING, GroupState
from haagent.core.limits import MAX_TEXT
from haagent.core.membership import Verdict
from haagent.core.messages import Heartbeat
from haagent.core.node_state import PATIENCE_S, NodeState
from haagent.core.settings import LEADER, Memory, Settings
from haagent.core.view import View

FOLLOWING = 1.1  # intervals
TURNS = 50  # in an interval: two nodes that answer the same heartbeat do so one turn apart


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
        memory = memory or Memory()
        self.state = NodeState.begin(settings, boot=boot, now=now, rng=rng, memory=memory)
        self.state.wall_offset_s = wall_offset_s
        for added in settings.groups:
            reload.add(self.state, added, now)
        for name, group in self.state.groups.items():
            if name in memory.served and self.state.orders.in_maintenance:
                group.service.by = settings.me  # its agent died, and was started again
            group.arbitration.known = memory.granted.get(name)
        self._forget_step()

    def _forget_step(self) -> None:
        self.heeded: list[AnyEvent] = []  # of the last step's events, all but mere copies
        self.is_unmoved = False  # the last step changed nothing that any later decision depends on

    @classmethod
    def of(cls, state: NodeState) -> Self:
        """One that knows this; it owns these values from now on."""
        node = cls.__new__(cls)
        node.state = state
        node._forget_step()
        return node

    # ------------------------------------------------------------------ the door

    @property
    def deadline(self) -> float:
        """Call again by then, with `Woke` if nothing else happens sooner."""
        return self.state.deadline

    def step(self, now: float, *happened: AnyEvent) -> list[AnyAction]:
        state = self.state
        state.actions = []
        self._forget_step()
        if state.has_stopped:
            return []
        if state.deadline == float("inf"):
            state.born = now  # the first step: until now the links were shut, and nobody could be heard
        self._notice_stall(now)
        for group in state.groups.values():
            election.expire(group, state, now)
        has_learnt = False
        for event in happened:
            verdict = self._take_in(now, event)
            has_learnt = has_learnt or verdict is Verdict.NEW
            if verdict is not Verdict.OLD:  # of a twin's as well the time counts
                self.heeded.append(event)
        if state.why_over:
            identity.end(state, now)
            state.deadline = now + state.settings.interval_s
            return state.actions
        if not has_learnt and now < state.deadline and not state.must_send and not state.actions:
            self.is_unmoved = not self.heeded  # a stranger is remembered, and greeted
            return []  # copies, or recordings: a flood of them must stay cheap
        self._notice_members(now)
        maintenance.freeze(state)
        twins.advance(state, now)
        clocks.advance(state, now)
        state.own_held = sum(group.state in HOLDING for name, group in state.groups.items() if name != LEADER)
        state.look_anew()
        for group in state.groups.values():
            election.advance(group, state, now)
        if (leader := state.groups.get(LEADER)) is not None:
            agreement.advance(state, now, leader)
        self._finish(now)
        state.raise_voice(now)
        if state.must_send or now >= state.next_beat:
            self._send(now)
        elif not state.has_stopped:
            self._part(now)
        self._remember(now)
        state.deadline = self._deadline(now)
        state.actions.sort(key=lambda action: URGENCY.index(type(action)))
        return state.actions

    def view(self, now: float) -> View:
        self.state.look_anew()
        return report.view(self.state, now)

    # ------------------------------------------------------------------ taking in

    def _take_in(self, now: float, event: AnyEvent) -> Verdict:
        state = self.state
        state.look_anew()
        match event:
            case events.Woke():
                pass
            case events.HeartbeatHeard(beat, link):
                return self._hear(now, beat, link)
            case events.GatewayChanged(reachable):
                state.reach_gateway(now, reachable=reachable)
            case events.Fenced(node, how):
                self._fenced(now, node, how)
            case events.ArbiterChanged(reachable, why):
                self._judge_arbiter(now, "" if reachable else why[:MAX_TEXT])
            case events.Recorded(owners):
                state.recorded = owners
            case events.Asked():
                state.do(commands.answer(state, now, event))
            case events.Lingering(name, addresses):
                ownership.linger(name, state, now, addresses)
            case events.Reconfigured(settings):
                reload.reconfigure(state, now, settings)
            case events.ClockSet(offset_s):
                state.wall_offset_s = offset_s
            case events.ClockSteered(slew):
                clocks.hear(state, now, slew)
            case events.Noticed(kind, group, text):
                state.note(kind, group, text, now=now)
            case events.StopRequested():
                state.stop_asked_at = now
                state.note(Kind.STOPPING, "", "asked to stop", now=now)
            case events.Dropped(name, ballot) if state.settings.arbiter and not self._has_lease(name):
                state.do(Relinquish(name, ballot))  # a reload removed the group, and nobody here speaks for it any more
            case _ if (told := state.groups.get(event.group)) is not None:
                election.told(told, state, now, event)
        return Verdict.NEW

    def _has_lease(self, name: str) -> bool:
        return name in self.state.groups and self.state.groups[name].lease is not None

    def _notice_stall(self, now: float) -> None:
        """A node that was not scheduled (stopped, swapped, a frozen host) believes what was true when it fell asleep.

        The silence that it now sees is its own: in `available` it listens for one lease before it tries to take
        anything. In `consistent` it needs fresh votes of a majority, and these are proof; one that stalls all the time,
        and is all that is left, would listen for ever.
        """
        state = self.state
        late_s = now - state.deadline
        if late_s <= state.settings.interval_s:
            return
        text = f"this node was not running for {late_s:.3f} s"
        if not state.settings.consistent:
            state.listen_until = now + state.settings.lease_s
            state.known_before_stall = state.was_alive
            text += "; listening before acting"
        state.note(Kind.STALLED, "", text, now=now)

    def _hear(self, now: float, beat: Heartbeat, link: str) -> Verdict:
        state = self.state
        if beat.node not in state.membership.peers or beat.cluster != state.settings.cluster:
            return Verdict.OLD
        identity.hear(state, now, beat)
        peer = state.membership.peers[beat.node]
        before, known = peer.boot, peer.twins(now)
        if now < votes.acquainted_at(state) and len(peer.lives) < 2:
            peer.lives.add(beat.boot)
        verdict = state.membership.hear(now, beat, link)
        twins.notice(state, now, peer, known)
        if verdict is Verdict.STRANGER:
            state.greet(now)  # neither can confirm the other before both have been heard: do not let it wait
        if verdict is not Verdict.NEW:
            return verdict
        if (believed := credible.believed(state, beat)) is not beat:
            beat = believed
            peer.take_in(beat)
        twins.hear(state, now, beat)
        if peer.boot != before:
            state.urge()
        if any(group.tenure is not None and group.name != LEADER for group in beat.groups):
            self._follow(now, beat.node, is_whole=peer.is_whole)
        for order in state.orders.merge(now, beat.orders):
            state.note(Kind.ORDER, "", commands.describe(order), now=now)
            state.urge()
        agreement.hear(state, now, beat)
        state.history.hear(beat)
        if beat.node not in state.witnesses and credible.is_lease_credible(state, beat.lease_ms):
            state.leases.hear(now, beat.lease_ms)
        state.leases_told.hear(now, beat.heard_lease_ms)
        state.keep_silent(now, beat)
        for loser in ownership.losers(state, beat):
            election.drop(loser, state, now, f"{beat.node} has an address of it in another group, and has held longer")
        for said in beat.groups:
            if (group := state.groups.get(said.name)) is not None:
                election.hear(group, state, now, beat, said)
            elif (former := state.former.get(said.name)) is not None:
                former.hear_release(said, beat.node, beat.boot)
        maintenance.hear(state, beat)
        return verdict

    def _follow(self, now: float, leader: str, *, is_whole: bool) -> None:
        """A holder has spoken: echo it at once, and not when our own interval is over.

        Its proof is then as young as can be, we are not bound for longer than it counts on us, and not one message more
        is sent. One after the other, so that each that answers has heard those before it, and a turn later while there
        are slices to come, so that one heartbeat answers them all. Who answers waits for the next one a little longer
        than an interval. Of several holders the first by name leads.
        """
        state, interval_s = self.state, self.state.settings.interval_s
        if now >= state.last_sent + interval_s / 2:
            followers = [name for name in state.settings.voters if name != leader]
            turns = followers.index(state.settings.me) + (0 if is_whole else 1)
            turn_s = turns * interval_s / TURNS
            state.next_beat = min(state.next_beat, now + turn_s)  # a holder that speaks often puts nobody off
            state.is_following = True
        elif not state.own_held or leader < state.settings.me:
            state.next_beat = now + FOLLOWING * interval_s

    def _judge_arbiter(self, now: float, fault: str) -> None:
        state = self.state
        if state.arbiter_fault == fault:
            return
        state.arbiter_fault = fault
        if not fault:
            text = f"{state.settings.arbiter} answers and gives the leases"
        elif state.settings.consistent:
            text = f"{fault}; this node releases each group when its lease ends, and takes none"
        else:
            text = f"{fault}; the nodes' own votes decide until it answers"
        state.note(Kind.NO_LEASES if fault else Kind.LEASES, "", text[:MAX_TEXT], now=now)
        state.urge()
        if fault and not state.settings.consistent:
            state.recorded = ()
            for group in state.groups.values():
                arbitration.begin(group)  # what it granted is no reason to ignore the votes any more

    def _fenced(self, now: float, node: str, how: str) -> None:
        """Everybody is told; whoever waited for it need not wait any more."""
        state = self.state
        if node not in state.membership.peers or state.membership.peers[node].is_alive(now):
            return
        state.order(now, f"down/{node}")
        state.note(Kind.FENCED, "", f"{node} is down: {how or 'its fence says so'}", now=now)
        state.urge()
        for group in state.groups.values():
            candidacy.hurry(group, now)

    def _notice_members(self, now: float) -> None:
        """Arrivals and departures are history, and reason to be heard at once."""
        state = self.state
        alive = {peer.name for peer in state.membership.alive(now)}
        before = set(state.was_alive)
        for name in sorted(alive - before):
            state.has_met_anyone = True
            state.note(Kind.ONLINE, "", f"{name} is online", now=now)
            if state.orders.is_down(name):
                state.order(now, f"down/{name}", on=False)
            state.urge()
        for name in sorted(before - alive):
            peer = state.membership.peers.get(name)
            if peer is None:
                why = "is no longer in the configuration"
            elif peer.beat is not None and peer.beat.stopping:
                why = "lost its agent; its guardian released everything" if peer.beat.died else "has stopped"
            else:
                why = f"is offline: silent for {1000 * (now - peer.heard_at):.0f} ms"
            state.note(Kind.OFFLINE, "", f"{name} {why}", now=now)
        state.was_alive = tuple(sorted(alive))

    # ------------------------------------------------------------------ leaving

    def _finish(self, now: float) -> None:
        """When asked to stop: nothing held any more, or frozen by a maintenance that is known, ends this life."""
        state = self.state
        if not state.is_stopping:
            return
        groups = state.groups.values()
        if state.orders.in_maintenance:
            if not maintenance.may_leave(state, now):
                if now >= state.stop_by:
                    maintenance.let_go(state, now)
                return
        else:
            for group in groups:
                election.abandon(group, state, now)
            if any(group.state is not GroupState.IDLE or group.is_disowned for group in groups):
                return
        self._send(now, stopping=True)
        state.do(Stopped())
        state.has_stopped = True

    # ------------------------------------------------------------------ sending

    def _send(self, now: float, *, stopping: bool = False) -> None:
        state = self.state
        seq = self._next_seq(now)
        state.must_send, state.last_sent = False, now
        # Drift-free: the next beat is due one interval after this one was due, unless we are far behind.
        interval_s = state.settings.interval_s
        if now >= state.next_beat:
            patience_s = FOLLOWING * interval_s if state.is_following else interval_s
            state.next_beat = max(state.next_beat + patience_s, now + interval_s / 2)
            state.is_following = False
        if state.may_vote(now):
            for group in state.groups.values():
                election.vote_for_self(group, state, now, seq)
        state.do(Send(heartbeat.heartbeat(state, now, seq, stopping=stopping)))

    def _part(self, now: float) -> None:
        """Leave words with the shell for the moment at which a group is let go in favour of its successor.

        Of several the first: it is let go first, and the heartbeats about it claim the others still.
        """
        state = self.state
        drop = next((action for action in state.actions if isinstance(action, Drop)), None)
        if drop is None or drop.group not in state.groups:
            return
        word = handover.farewell(state.groups[drop.group], now)
        if word is not None:
            beat = heartbeat.heartbeat(state, now, self._next_seq(now))
            state.do(Farewell(drop.group, drop.ballot, heartbeat.with_word(beat, word)))

    def _next_seq(self, now: float) -> int:
        state = self.state
        seq = state.next_seq
        state.next_seq += 1
        state.membership.sent(seq, now)
        return seq

    def _remember(self, now: float) -> None:
        state = self.state
        frozen = state.groups.values() if state.orders.in_maintenance else ()
        served = tuple(group.name for group in frozen if group.service.by == state.settings.me)
        # The longest lease in use: our silence after a restart must cover what we have accepted.
        lease_s = max(state.settings.lease_s, state.leases.longest_ms(now) / 1000)
        agreed = state.agreed if state.is_agreed else None
        left = {name: state.left[name] for name in sorted(state.left) if reserved.keeper(state, name)}
        granted = {}
        if state.settings.arbiter and state.settings.consistent:
            found = {name: group.arbitration.known for name, group in state.groups.items()}
            granted = {name: known for name, known in found.items() if known is not None}
        lasting = state.orders.lasting
        memory = Memory(state.round, lease_s, lasting, served, agreed, granted, left, state.host)
        if memory != state.remembered:
            state.remembered = memory
            state.do(Remember(memory))

    def _deadline(self, now: float) -> float:
        state = self.state
        if state.must_send:
            return now  # sending has moved something on: say that too
        due = [state.next_beat, state.membership.next_death(now), state.membership.next_silence(now)]
        ends = [state.silent_until, state.silent_until + state.settings.lease_s, state.stop_by]
        if state.settings.gateway_guard:
            ends.append(state.gateway_lost_at + PATIENCE_S)
        due += [instant for instant in ends if instant > now]
        if (leader := state.groups.get(LEADER)) is not None:
            due.append(agreement.due(state, now, leader))
        due += [election.deadline(group, state, now) for group in state.groups.values()]
        return min(due)
