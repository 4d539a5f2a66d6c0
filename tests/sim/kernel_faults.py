"""What befalls the kernels under the agents of `whole`: locks that others hold, refusals, hands that are not ours."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.sim.whole import World

Fault = Callable[[World, random.Random], None]


def hold(world: World, rng: random.Random) -> None:
    """Another program's transaction: who changes an address, or the firewall, waits."""
    name, lock = rng.choice(list(world.hosts)), rng.choice(("rtnl", "nft"))
    for_s = rng.choice((0.005, 0.04, 0.2, 0.6)) * rng.random()
    world.say(f"{lock} of {name} is held for {1000 * for_s:.0f} ms")
    held = world.kernel(name).held_until
    held[lock] = max(held[lock], world.t + for_s)


def refuse(world: World, rng: random.Random) -> None:
    name, what = rng.choice(list(world.hosts)), rng.choice(("add", "remove", "remove", "nft", "cloud"))
    for_s = rng.choice((0.02, 0.3, 1.0)) * rng.random()
    world.say(f"{name} refuses `{what}` for {1000 * for_s:.0f} ms")
    _refuse(world, name, what, for_s)


def _refuse(world: World, name: str, what: str, for_s: float) -> None:
    refusing = world.kernel(name).refusing
    refusing[what] = f"no buffer space for `{what}`"
    world.at(world.t + for_s, lambda: refusing.pop(what, None))


def meddle(world: World, rng: random.Random) -> None:
    """An administrator removes an address, or adds it where it should not be."""
    if not world.vips:
        return
    name, vip = rng.choice(list(world.hosts)), rng.choice(list(world.vips.values()))
    kernel = world.kernel(name)
    if vip.packed in kernel.addresses:
        world.say(f"somebody removes {vip.address} from {name}")
        kernel.remove([vip.packed])
    elif kernel.has_gate and vip.packed in kernel.gated:  # else it is nothing to the agent there
        world.say(f"somebody adds {vip.address} on {name}")
        kernel.put(vip, 0, float("inf"))
    world.monitor(name, vip.packed)


def obstruct(world: World, rng: random.Random) -> None:
    """Whoever serves is to hand over, and its kernel does not let it: it waits, or refuses, or both."""
    group, other = rng.choice(world.settings.groups[1:]).name, rng.choice(list(world.hosts))
    for_s = rng.choice((0.005, 0.1, 0.6)) * rng.random()
    locks, refused = rng.choice(((), ("rtnl",), ("nft",), ("nft",))), rng.choice(((), ("remove",), ("nft",)))
    at = world.t + rng.choice((0.0, 0.06, for_s)) * rng.random()
    if not (serving := world.serving(group)):
        return
    name, kernel = serving[0], world.kernel(serving[0])
    world.say(f"{name}, which serves {group}, cannot let go for {1000 * for_s:.0f} ms: {' '.join(locks + refused)}")
    for lock in locks:
        kernel.held_until[lock] = world.t + for_s
    for what in refused:
        _refuse(world, name, what, for_s)
    world.at(at, lambda: world.ask(name, "move", group=group, node=other, force=True))


def change_mind(world: World, rng: random.Random) -> None:
    """A group is moved, and while it is being taken something else is wanted."""
    group, other = rng.choice(world.settings.groups[1:]).name, rng.choice(list(world.hosts))
    at, is_back = world.t + rng.choice((0.01, 0.1, 0.3)) * rng.random(), rng.random() < 0.5
    if not (serving := world.serving(group)):
        return
    name = serving[0]
    world.ask(name, "move", group=group, node=other, force=True)
    if is_back:
        world.at(at, lambda: world.ask(other, "move", group=group, node=name, force=True))
    else:
        world.at(at, lambda: world.set_health(other, group, ok=False))
        world.at(at + 0.3 * rng.random(), lambda: world.set_health(other, group, ok=True))


ANYTHING: tuple[Fault, ...] = (hold, refuse, meddle, obstruct, obstruct, change_mind, change_mind)
