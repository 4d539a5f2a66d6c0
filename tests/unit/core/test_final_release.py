"""Last words free the voters of exactly what was claimed when they were written."""

from __future__ import annotations

import msgspec

from haagent.core.final_release import covers_claims, last_words, releases
from haagent.core.group.voter import Voter
from haagent.core.messages import Accepted, Ballot, GroupBeat, Heartbeat, is_well_formed
from haagent.core.wire import Opener, Sealer
from tests.sim.world import make_settings, steady_world
from tests.support.recorder import overheard

KEY = b"k" * 32


def beat_of(claim: Ballot) -> Heartbeat:
    group = GroupBeat("web", claim=claim, tenure=claim, active=True, held_ms=5, promised=claim)
    return Heartbeat(cluster="c", node="A", boot=7, seq=40, interval_ms=100, lease_ms=350, groups=(group,))


def bound_to(claim: Ballot) -> Voter:
    voter = Voter()
    assert voter.accept(0.0, Accepted(claim, 7, 40), lease_s=0.35)
    return voter


def test_they_release_what_was_claimed() -> None:
    words = last_words(beat_of(Ballot(3, "A")))
    assert is_well_formed(words)
    assert words.stopping
    assert words.died
    assert words.groups[0].claim is None
    voter = bound_to(Ballot(3, "A"))
    assert voter.hear_release(words.groups[0], "A", 7)
    assert not voter.is_bound(0.0)


def test_a_claim_raised_since_is_not_released_by_them() -> None:
    voter = bound_to(Ballot(4, "A"))
    assert not voter.hear_release(last_words(beat_of(Ballot(3, "A"))).groups[0], "A", 7)
    assert voter.is_bound(0.0)


def test_an_earlier_release_is_kept_where_nothing_is_claimed() -> None:
    group = GroupBeat("web", released=Ballot(2, "A"))
    beat = Heartbeat(cluster="c", node="A", boot=7, seq=40, interval_ms=100, lease_ms=350, groups=(group,))
    assert last_words(beat).groups[0].released == Ballot(2, "A")


def test_a_want_is_released_with_the_ballot_that_it_will_claim() -> None:
    wanted = GroupBeat("web", want=Ballot(3, "A"), released=Ballot(2, "A"))
    beat = msgspec.structs.replace(beat_of(Ballot(3, "A")), groups=(wanted,))
    assert releases(beat) == {"web": Ballot(3, "A")} == {"web": last_words(beat).groups[0].released}
    assert covers_claims(releases(beat), beat_of(Ballot(3, "A")))


def test_only_a_claim_that_is_not_released_yet_has_to_wait_for_the_words() -> None:
    assert not covers_claims({}, beat_of(Ballot(3, "A")))
    assert not covers_claims(releases(beat_of(Ballot(2, "A"))), beat_of(Ballot(3, "A")))
    nothing = msgspec.structs.replace(beat_of(Ballot(3, "A")), groups=(GroupBeat("web"), GroupBeat("db")))
    assert covers_claims({}, nothing)


def test_they_are_sealed_ahead_of_need_and_opened_as_the_newest_of_that_life() -> None:
    sealer = Sealer(keys=(KEY,), cluster="c", node="A", boot=7)
    opener = Opener(keys=(KEY,), cluster="c", node="B", nodes=frozenset("AB"), boot=8)
    beat = beat_of(Ballot(3, "A"))
    words = Sealer(keys=(KEY,), cluster="c", node="A", boot=7).seal(last_words(beat))
    assert opener.open(sealer.seal(beat)[0]) == beat
    assert opener.open(words[0]) == last_words(beat)


def test_the_peers_take_over_at_once_and_say_why() -> None:
    world = steady_world(make_settings(nodes="AB", consistent=False))
    for name in world.hosts:
        world.start(name)
    world.run(2.0)
    holder = world.serving("web")[0]
    said = overheard(world)
    world.run(world.t + 0.25)
    last = [beat for beat in said if beat.node == holder][-1]
    world.crash(holder)
    world.hosts[holder].served.clear()  # the guardian has removed its addresses
    world._broadcast(world.hosts[holder], last_words(last))
    world.run(world.t + 0.02)
    assert world.serving("web") == [name for name in world.hosts if name != holder]
    assert any("lost its agent; its guardian released everything" in line for line in world.transcript)
