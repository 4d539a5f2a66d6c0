"""Whose votes count in the first moments after two nodes have met."""

from __future__ import annotations

import pytest

from haagent.core import votes
from tests.sim.invariants import Watch
from tests.sim.world import World, make_settings


def met_late(seed: int) -> Watch:
    """In `available`. The switch port of B took longer than its agent, and loses frames."""
    world = World(seed, make_settings(nodes="AB", consistent=False, alone_after_s=1.0))
    watch = Watch(world, never_two=True, ordered=True)
    world.split("A", "B")
    world.start("A")
    world.run(3.0)
    world.start("B")
    world.run(3.5 + 0.013 * seed)
    world.heal()
    world.loss = 0.1
    world.run(world.t + 2.0)
    return watch


@pytest.mark.parametrize("seed", [4, 9, 10, 12])
def test_a_holder_has_the_vote_of_whom_it_meets(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not met_late(seed).drops
    monkeypatch.setattr(votes, "_is_new", lambda state, peer, now: now < peer.met_at + 0.25)
    assert met_late(seed).drops
