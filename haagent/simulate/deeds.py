"""What a scenario says, done to a world. One function for each verb of the language, found by its name.

`mark` is told of what happens later by itself (a host is back, a cut is over), at that moment.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable

from haagent.simulate.network import Trouble
from haagent.simulate.scenario import Deed
from haagent.simulate.world import World

GATEWAY_LOST_S = 0.2  # until it is noticed: a peer falls silent, the gateway is asked, three answers are missed
GATEWAY_BACK_S = 0.05  # a lost one is asked ten times a second

Mark = Callable[[str], None]


def perform(world: World, deed: Deed, mark: Mark) -> None:
    VERBS[deed.verb](world, deed, mark)


def _later(world: World, deed: Deed, mark: Mark, act: Callable[[], None], text: str = "") -> None:
    """`back after 2s`, `for 2s`: what ends it."""
    if deed.time_s is None:
        return

    def end() -> None:
        act()
        mark(text or f"`{deed.text}` is over")

    world.at(world.t + deed.time_s, end)


def _names(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


# ---------------------------------------------------------------------- lives


LIVES = {  # what the world does to each node, what ends that after a while, and what is then told
    "start": ("start", "stop", "stopped"),
    "stop": ("stop", "start", "started again"),
    "kill": ("kill", "start", "started again"),
    "crash": ("crash", "start", "back"),
    "freeze": ("pause", "resume", "thawed"),
    "thaw": ("resume", "pause", "frozen"),
}


def _live(world: World, deed: Deed, mark: Mark) -> None:
    begin, end, told = LIVES[deed.verb]
    for name in deed.nodes:
        getattr(world, "kill_all" if "entirely" in deed.said else begin)(name)

    def back() -> None:
        for name in deed.nodes:
            getattr(world, end)(name)

    _later(world, deed, mark, back, f"{_names(deed.nodes)} {told}")


# ---------------------------------------------------------------------- the network


def _cut(world: World, deed: Deed, mark: Mark) -> None:
    ways = _ways(deed) if "from" in deed.said else set(itertools.product(deed.nodes, deed.others))
    world.cuts |= ways
    world.quiet = world.quiet | ways if "heartbeats" in deed.said else world.quiet - ways

    def end() -> None:
        world.cuts -= ways

    _later(world, deed, mark, end)


def _isolate(world: World, deed: Deed, mark: Mark) -> None:
    for name in deed.nodes:
        world.isolate(name)
        if world.hosts[name].gateway is not None:
            world.at(world.t + GATEWAY_LOST_S, functools.partial(_look_for_gateway, world, name))
    _later(world, deed, mark, functools.partial(_rejoin, world, deed.nodes))


def _rejoin(world: World, names: Iterable[str]) -> None:
    for name in names:
        world.cuts = {way for way in world.cuts if name not in way}
        world.troubles = {way: trouble for way, trouble in world.troubles.items() if name not in way}
        if name in world.isolated:
            world.isolated.discard(name)
            world.at(world.t + GATEWAY_BACK_S, functools.partial(_look_for_gateway, world, name))


def _look_for_gateway(world: World, name: str) -> None:
    reachable = name not in world.isolated
    if world.hosts[name].gateway not in (None, reachable):
        world.set_gateway(name, reachable=reachable)


def _heal(world: World, deed: Deed, _: Mark) -> None:
    if deed.others:
        both = _ways(deed)
        world.cuts -= both
        world.troubles = {way: trouble for way, trouble in world.troubles.items() if way not in both}
    elif deed.nodes:
        _rejoin(world, deed.nodes)
    else:
        _rejoin(world, world.names)
        world.loss, world.delay_s = 0.0, world.usual_delay_s


def _ways(deed: Deed) -> set[tuple[str, str]]:
    return {*itertools.product(deed.nodes, deed.others), *itertools.product(deed.others, deed.nodes)}


def _lose(world: World, deed: Deed, _: Mark) -> None:
    for way in _ways(deed):
        world.troubles.setdefault(way, Trouble()).loss = deed.share
    if not deed.nodes:
        world.loss = deed.share


def _delay(world: World, deed: Deed, _: Mark) -> None:
    delay_s = (deed.time_s or 0.0, deed.time_s or 0.0)
    for way in _ways(deed):
        world.troubles.setdefault(way, Trouble()).delay_s = delay_s
    if not deed.nodes:
        world.delay_s = delay_s


# ---------------------------------------------------------------------- what a node sees of itself


def _set_failing(world: World, deed: Deed, _: Mark) -> None:
    for name in deed.nodes:
        world.failing[(name, deed.group)] = deed.verb == "fail"


def _set_health(world: World, deed: Deed, _: Mark) -> None:
    for name in deed.nodes:
        world.set_health(name, deed.group, ok=deed.verb == "fit")


def _set_penalty(world: World, deed: Deed, _: Mark) -> None:
    for name in deed.nodes:
        world.set_penalty(name, deed.group, deed.penalty)


def _gateway(world: World, deed: Deed, _: Mark) -> None:
    for name in deed.nodes:
        world.set_gateway(name, reachable="back" in deed.said)


def _etcd(world: World, deed: Deed, _: Mark) -> None:
    ways = set(itertools.product(world.names, [world.settings.arbiter]))
    ways |= {(target, source) for source, target in ways}
    world.cuts = world.cuts - ways if "back" in deed.said else world.cuts | ways


# ---------------------------------------------------------------------- operators


def _ask(world: World, deed: Deed, mark: Mark) -> None:
    """On the node that `via` names, else on the first whose agent can answer."""
    able = [name for name, host in world.hosts.items() if host.node is not None and not host.is_paused]
    place = deed.others[0] if deed.others else able[0] if able else ""
    if place not in able:
        mark(f"no agent answers{f' on {place}' if place else ''}: the command is lost")
        return
    is_forced = "force" in deed.said
    match deed.verb:
        case "failover":
            world.ask(place, "move", group=deed.group, node=deed.nodes[0], force=is_forced)
        case "standby" | "unstandby":
            world.ask(place, "standby", node=deed.nodes[0], on=deed.verb == "standby")
        case "maintenance":
            world.ask(place, "maintenance", on="on" in deed.said, force=is_forced)
        case "confirm-down":
            if not world.confirm_down(place, deed.nodes[0]):
                mark(f"refused: {deed.nodes[0]} is heard")
        case "clear":
            world.ask(place, "clear", group=deed.group)


VERBS: dict[str, Callable[[World, Deed, Mark], None]] = {
    **dict.fromkeys(LIVES, _live),
    "cut": _cut,
    "isolate": _isolate,
    "heal": _heal,
    "lose": _lose,
    "delay": _delay,
    "fail": _set_failing,
    "mend": _set_failing,
    "unfit": _set_health,
    "fit": _set_health,
    "penalty": _set_penalty,
    "gateway": _gateway,
    "etcd": _etcd,
    **dict.fromkeys(("failover", "standby", "unstandby", "maintenance", "confirm-down", "clear"), _ask),
}
