"""Two nodes of `available` that hear each other no more, while clients and neighbours reach both.

No vote keeps them apart, only the neighbours' word. Whatever happens to one of them at a time, both do not serve. (Two
that ask at the same moment are both told that nobody answers: about one story in five hundred ends like that, and none
of these. Without the question that follows a release it was one in four.)
"""

from __future__ import annotations

import random

import pytest

from tests.sim.world import World, make_settings, steady_world

TROUBLES = 15
APART_S = 0.2  # two that boot at one instant ask at one instant, and nobody answers either
ALONE_S = 5.0  # `alone_after`, after a start


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_two_that_do_not_hear_each_other_never_both_serve(first: int) -> None:
    for seed in range(first, first + 20):
        world = make_world(random.Random(seed))
        world.looks.append(lambda world=world, seed=seed: not_two(world, seed))  # type: ignore[misc]
        play(world, random.Random(f"troubles {seed}"))
        world.run(world.t + ALONE_S + 2.0)
        assert len(world.serving("web")) == 1, f"seed {seed}: nobody serves in the end"


def make_world(rng: random.Random) -> World:
    world = steady_world(make_settings(nodes="AB", consistent=False, arp_guard=True), has_neighbours=True)
    for name in world.hosts:
        world.start(name)
    world.run(2.0 + rng.random())
    for way in rng.sample([("A", "B"), ("B", "A")], 2):
        world.hush(*way)
        world.run(world.t + 0.1 * rng.random())
    world.run(world.t + 1.0)
    return world


def play(world: World, rng: random.Random) -> None:
    for _ in range(TROUBLES):
        name = rng.choice("AB")
        kind = rng.choice(["unfit", "crash", "stop", "kill"])
        for_s = rng.choice((0.01, 0.1, 0.3, 0.4, 1.0, 3.0)) * rng.random()
        match kind:
            case "unfit":
                world.set_health(name, "web", ok=False)
            case "crash":
                world.crash(name)
            case "stop":
                world.stop(name)
                for_s += 0.02  # a start before that is over would be none
            case _:
                world.kill_all(name)
        world.run(world.t + for_s)
        if kind == "unfit":
            world.set_health(name, "web", ok=True)
        else:
            world.start(name)
        world.run(world.t + APART_S + rng.choice((0.1, 0.5, 3.0, 7.0)) * rng.random())


def not_two(world: World, seed: int) -> None:
    serving = world.serving("web")
    assert len(serving) < 2, f"seed {seed}, at {world.t:.3f}: {' and '.join(serving)}"
