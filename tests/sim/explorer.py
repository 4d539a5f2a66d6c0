"""Everything that can befall two nodes and a witness, in every order, and never do two serve.

The seeds of a campaign try much, here and there. This tries all, of little: from a few beginnings every order of
messages, losses, copies and late arrivals, crashes, restarts, freezes and cuts, with at most so many faults. States
that were seen before are not gone into again, breadth first, so that the first violation found is one of the shortest.

Time goes in ticks. A timer that is due between two fires at the later one, late as timers are; its gate, which is the
kernel's, shuts in between. In a tick messages take no time: what is sent in one round arrives in the next, until
nobody has anything to say. A message that is `held` up arrives in any later round of this or any later tick, or never:
so a loss is one that is held for ever. Every run of this is one that real nodes could have; what is between (a message
that takes half a tick, clocks that run apart) is not here, but in the campaign.

At the beginning of a tick (`is_dawn`) what is cut heals or not, who is down starts or not, who is frozen goes on or
not. These are free. Each fault costs one of `left`: a crash, a freeze, a cut, a message held up or doubled, and a
memory lost while down.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from enum import IntEnum
from typing import NamedTuple

from haagent.core import events
from haagent.core.messages import Heartbeat
from haagent.core.settings import GroupSettings, NodeSettings, Settings
from tests.sim.minds import NOTHING, WOKE, Minds, Outcome

SETTINGS = Settings(
    cluster="sim",
    me="A",
    nodes=(NodeSettings("A"), NodeSettings("B"), NodeSettings("W", witness=True)),
    groups=(GroupSettings("web"),),
    interval_s=1.0,
    lease_s=3.5,
    alone_after_s=5.0,
    start_grace_s=0.5,
    failure_expiry_s=600.0,
)
NAMES = SETTINGS.voters
NUMBERS = range(len(NAMES))
LINKS = tuple(itertools.permutations(NUMBERS, 2))
FROM = [[link for link, (source, _) in enumerate(LINKS) if source == number] for number in NUMBERS]
INTO = [[link for link, (_, target) in enumerate(LINKS) if target == number] for number in NUMBERS]
QUIET = (NOTHING,) * len(LINKS)


class Cut(NamedTuple):
    text: str
    links: frozenset[int]


CUTS = (
    Cut("nothing is cut", frozenset()),
    *(Cut(f"{NAMES[n]} is cut off", frozenset(FROM[n] + INTO[n])) for n in NUMBERS),
    *(
        Cut(
            f"{NAMES[one]} and {NAMES[other]} are cut from each other",
            frozenset({LINKS.index((one, other)), LINKS.index((other, one))}),
        )
        for one, other in itertools.combinations(NUMBERS, 2)
    ),
    *(
        Cut(f"nothing passes from {NAMES[one]} to {NAMES[other]}", frozenset({link}))
        for link, (one, other) in enumerate(LINKS)
    ),
)


class Status(IntEnum):
    DOWN = 0
    UP = 1
    FROZEN = 2


class Host(NamedTuple):
    status: Status
    mind: int  # or, while it is down, what it has on disk
    life: int
    until_us: int = 0  # it serves for so long from now on
    told: int = NOTHING  # what its shell will report in the next round


class State(NamedTuple):
    left: int  # faults
    cut: int
    is_dawn: bool
    hosts: tuple[Host, ...]
    fresh: tuple[int, ...] = QUIET  # on each link what arrives in the next round, or when its receiver goes on
    late: tuple[tuple[int, int], ...] = ()  # (link, message): may still arrive


FAULTS = ("crash", "freeze", "cut", "hold", "double", "forget")


class Action(NamedTuple):
    what: str
    which: int = 0


class Step(NamedTuple):
    action: Action
    state: State
    are_two: bool = False  # serving


class Explorer:
    def __init__(self, kinds: Collection[str] = FAULTS, *, tick_s: float = 1.0) -> None:
        self._kinds = kinds
        self.minds = Minds(SETTINGS, tick_s=tick_s)
        self._tick_us = round(1_000_000 * tick_s)

    # ------------------------------------------------------------------ where it begins

    def cold(self, *, faults: int = 0) -> State:
        """All have just been started, and have not heard each other."""
        hosts, fresh = [Host(Status.DOWN, 0, 0)] * len(NAMES), list(QUIET)
        for number in NUMBERS:
            self._start(hosts, fresh, number, 0, 0)
        return State(faults, 0, True, tuple(hosts), tuple(fresh))

    def settled(self, *, faults: int = 0, cut: int = 0) -> State:
        """One of them serves, and has for long; then for long with what is cut."""
        state = self.undisturbed(self.cold())
        return self.undisturbed(state._replace(cut=cut))._replace(left=faults)

    def undisturbed(self, state: State, ticks: int = 40) -> State:
        while ticks:
            action, state, are_two = next(self._onward(state))
            assert not are_two
            ticks -= action.what == "tick"
        return state

    # ------------------------------------------------------------------ what may follow

    def successors(self, state: State) -> Iterator[Step]:
        if state.left:
            yield from (step for step in self._faults(state) if step.action.what in self._kinds)
        if state.is_dawn:
            yield from self._mended(state)
        for place, (link, message) in enumerate(state.late):
            if self._hears(state, link) and state.late.index((link, message)) == place:
                rest = state.late[:place] + state.late[place + 1 :]
                yield self._after(
                    Action("arrives", place), state._replace(late=rest), {LINKS[link][1]: (message,)}, state.fresh
                )
        yield from self._onward(state)

    def _faults(self, state: State) -> Iterator[Step]:
        after = state._replace(left=state.left - 1)
        for number, host in enumerate(state.hosts):
            if host.status is Status.DOWN:
                continue
            fresh = tuple(NOTHING if link in INTO[number] else said for link, said in enumerate(state.fresh))
            memory = self.minds.minds[host.mind].memory
            hosts = _with(state.hosts, number, Host(Status.DOWN, memory, host.life))
            yield Step(Action("crash", number), after._replace(hosts=hosts, fresh=fresh))
            if host.status is Status.UP:
                hosts = _with(state.hosts, number, host._replace(status=Status.FROZEN))
                yield Step(Action("freeze", number), after._replace(hosts=hosts))
        for link, said in enumerate(state.fresh):
            if said and self._hears(state, link):
                late = tuple(sorted((*state.late, (link, said))))
                fresh = (*state.fresh[:link], NOTHING, *state.fresh[link + 1 :])
                yield Step(Action("hold", link), after._replace(late=late, fresh=fresh))
                yield Step(Action("double", link), after._replace(late=late))
        if state.is_dawn and not state.cut:
            for cut in range(1, len(CUTS)):
                yield Step(Action("cut", cut), after._replace(cut=cut))

    def _mended(self, state: State) -> Iterator[Step]:
        if state.cut:
            yield Step(Action("heal"), state._replace(cut=0))
        for number, host in enumerate(state.hosts):
            if host.status is Status.FROZEN:
                hosts = _with(state.hosts, number, host._replace(status=Status.UP))
                yield Step(Action("thaw", number), state._replace(hosts=hosts))
            elif host.status is Status.DOWN:
                yield self._started(Action("start", number), state, host.mind)
                if state.left and "forget" in self._kinds:
                    yield self._started(Action("forget", number), state._replace(left=state.left - 1), 0)

    def _started(self, action: Action, state: State, memory: int) -> Step:
        hosts, fresh = list(state.hosts), list(state.fresh)
        self._start(hosts, fresh, action.which, memory, state.cut)
        return Step(action, state._replace(hosts=tuple(hosts), fresh=tuple(fresh)))

    def _start(self, hosts: list[Host], fresh: list[int], number: int, memory: int, cut: int) -> None:
        life = hosts[number].life + 1
        hosts[number] = Host(Status.UP, 0, life)
        self._perform(hosts, fresh, number, self.minds.born(number, life, memory), cut)

    # ------------------------------------------------------------------ what goes on by itself

    def _onward(self, state: State) -> Iterator[Step]:
        """The next round, or when nobody has anything to do, the next tick."""
        said: list[tuple[int, list[tuple[int, ...]]]] = []
        fresh = list(state.fresh)
        for number, host in enumerate(state.hosts):
            if host.status is not Status.UP:
                continue
            heard = tuple(fresh[link] for link in INTO[number] if fresh[link])
            for link in INTO[number]:
                fresh[link] = NOTHING
            if not heard and not host.told and not self.minds.minds[host.mind].is_due:
                continue
            orders = [heard] if len(heard) < 2 else [heard, heard[::-1]]
            said.append((number, [(host.told, *order) if host.told else order or (WOKE,) for order in orders]))
        if not said:
            yield self._tick(state)
            return
        numbers = [number for number, _ in said]
        for which, orders in enumerate(itertools.product(*(each for _, each in said))):
            heard_by = dict(zip(numbers, orders, strict=True))
            yield self._after(Action("round", which), state, heard_by, tuple(fresh))

    def _after(self, action: Action, state: State, heard_by: dict[int, tuple[int, ...]], left: tuple[int, ...]) -> Step:
        hosts, fresh, are_two = list(state.hosts), list(left), False
        outcomes = {n: self.minds.step(n, hosts[n].mind, said) for n, said in heard_by.items()}
        for number, outcome in outcomes.items():
            host = hosts[number]
            if host.told and host.told == heard_by[number][0]:
                is_dropped = isinstance(self.minds.events[host.told], events.Dropped)
                hosts[number] = host._replace(told=NOTHING, until_us=0 if is_dropped else host.until_us)
            self._perform(hosts, fresh, number, outcome, state.cut)
        for number, outcome in outcomes.items():
            if outcome.until_us:
                # Also who lets go in this very round: that it was before is not said.
                others = [other for other in NUMBERS if other != number]
                are_two = are_two or any(state.hosts[n].until_us or hosts[n].until_us for n in others)
        return Step(action, State(state.left, state.cut, False, tuple(hosts), tuple(fresh), state.late), are_two)

    def _perform(self, hosts: list[Host], fresh: list[int], number: int, outcome: Outcome, cut: int) -> None:
        host = hosts[number]
        if outcome.is_over:
            hosts[number] = Host(Status.DOWN, self.minds.minds[outcome.mind].memory, host.life)
        else:
            until_us = max(host.until_us, outcome.until_us)
            hosts[number] = Host(Status.UP, outcome.mind, host.life, until_us, outcome.told or host.told)
        if outcome.sent:
            for link in FROM[number]:
                if link not in CUTS[cut].links and hosts[LINKS[link][1]].status is not Status.DOWN:
                    fresh[link] = outcome.sent

    def _tick(self, state: State) -> Step:
        moves = tuple(
            self.minds.gone(number) if host.status is Status.DOWN else self.minds.minds[host.mind].move
            for number, host in enumerate(state.hosts)
        )
        hosts = tuple(
            host
            if host.status is Status.DOWN
            else host._replace(mind=self.minds.wait(host.mind, moves), until_us=max(0, host.until_us - self._tick_us))
            for host in state.hosts
        )
        fresh = tuple(said and self.minds.event_later(said, moves) for said in state.fresh)
        aged = ((link, self.minds.event_later(said, moves)) for link, said in state.late)
        late = tuple(sorted(one for one in aged if one[1]))
        return Step(Action("tick"), State(state.left, state.cut, True, hosts, fresh, late))

    # ------------------------------------------------------------------ telling

    def describe(self, before: State, step: Step) -> str:
        what, which = step.action
        name = NAMES[which] if which < len(NAMES) else ""
        match what:
            case "crash":
                return f"{name} crashes"
            case "freeze":
                return f"{name} is frozen"
            case "thaw":
                return f"{name} goes on"
            case "start":
                return f"{name} is started"
            case "forget":
                return f"{name} is started, and has lost its memory"
            case "cut":
                return CUTS[which].text
            case "heal":
                return CUTS[0].text
            case "hold" | "double":
                verb = "is held up" if what == "hold" else "is doubled, and one of the two held up"
                return f"{self._message(which, before.fresh[which])} {verb}"
            case "arrives":
                told = [f"late: {self._message(*before.late[which])}"]
            case "tick":
                told = []
            case _:
                heard = [(link, said) for link, said in enumerate(before.fresh) if said and self._hears(before, link)]
                told = [self._message(link, said) for link, said in heard]
        for number, (old, new) in enumerate(zip(before.hosts, step.state.hosts, strict=True)):
            if what != "tick" and new.until_us > old.until_us:
                told.append(f"{NAMES[number]} SERVES for the next {new.until_us / 1e6:.3f} s")
            elif new.until_us == 0 < old.until_us:
                told.append(f"{NAMES[number]} serves no more")
        return "; ".join(told)

    @staticmethod
    def _hears(state: State, link: int) -> bool:
        return state.hosts[LINKS[link][1]].status is Status.UP

    def _message(self, link: int, said: int) -> str:
        heard = self.minds.events[said]
        assert isinstance(heard, events.HeartbeatHeard)
        source, target = LINKS[link]
        return f"{NAMES[source]}>{NAMES[target]} {_words(heard.beat)}".rstrip()


def _with(hosts: tuple[Host, ...], number: int, host: Host) -> tuple[Host, ...]:
    return (*hosts[:number], host, *hosts[number + 1 :])


def _words(beat: Heartbeat) -> str:
    group = beat.groups[0]
    said = {"wants": group.want, "claims": group.claim, "promised": group.promised}
    said["accepted"] = group.accepted.ballot if group.accepted is not None else None
    return "(" + ", ".join(f"{verb} {ballot}" for verb, ballot in said.items() if ballot is not None) + ")"
