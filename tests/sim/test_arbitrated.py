"""Schedules of faults with an etcd: never two holders in `consistent`, and one again soon after the last fault."""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from haagent.coordination.register import Register
from haagent.coordination.stored import decode
from haagent.core.settings import Settings
from tests.sim.arbitrated import ArbitratedWorld
from tests.sim.invariants import Violation, Watch
from tests.sim.world import make_settings

SEEDS = range(400)
ETCD_SEEDS = range(120)
BACKUP_SEEDS = range(200)
FAULTS_S = 4.0


def settings_of(rng: random.Random, *, consistent: bool) -> Settings:
    settings = make_settings(
        nodes=rng.choice(("AB", "AB", "ABC")),
        groups={"web": ("A", "B"), "db": ("B",)},
        consistent=consistent,
        alone_after_s=0.6,
        failback_after_s=rng.choice((None, None, 0.3)),
    )
    return msgspec.structs.replace(settings, arbiter="etcd", lease_s=rng.choice((0.35, 0.35, 1.0)))


def some(world: ArbitratedWorld, rng: random.Random) -> str:
    return rng.choice(list(world.hosts))


def fault_of_a_node(world: ArbitratedWorld, rng: random.Random) -> None:
    name, back_s = some(world, rng), rng.choice((0.002, 0.1, 0.5, 1.5)) * rng.random()
    match rng.randrange(6):
        case 0:
            world.crash(name)
            world.at(world.t + back_s, lambda: world.start(name))
        case 1:
            world.kill(name)
            world.at(world.t + back_s, lambda: world.start(name))
        case 2:
            world.pause(name)
            world.at(world.t + back_s, lambda: world.resume(name))
        case 3:
            world.stop(name)
            world.at(world.t + 0.05 + back_s, lambda: world.start(name))
        case 4:
            world.ask(some(world, rng), "move", group="web", node=name)
        case 5:
            group = rng.choice(("web", "db"))
            world.set_health(name, group, ok=group in world.hosts[name].unfit)


def fault_between_nodes(world: ArbitratedWorld, rng: random.Random) -> None:
    names = list(world.hosts)
    match rng.randrange(5):
        case 0:
            world.cut(*rng.sample(names, 2))
        case 1:
            at = rng.randrange(1, len(names))
            rng.shuffle(names)
            world.split("".join(names[:at]), "".join(names[at:]))
        case 2:
            world.heal()
        case 3:
            world.loss = rng.choice((0.0, 0.05, 0.5))
        case 4:
            world.delay_s = rng.choice(((0.0001, 0.001), (0.001, 0.04), (0.0, 0.3)))


def fault_of_etcd(world: ArbitratedWorld, rng: random.Random) -> None:
    for_s = rng.choice((0.01, 0.2, 0.6, 1.5)) * rng.random()
    match rng.randrange(6):
        case 0:
            world.store.is_down = True
            world.at(world.t + for_s, functools.partial(setattr, world.store, "is_down", False))
        case 1:
            world.store.is_frozen = True
            world.at(world.t + for_s, world.thaw_etcd)
        case 2:
            world.cut_from_etcd |= {(some(world, rng), rng.choice(("ask", "answer", "watch"))) for _ in range(3)}
            world.at(world.t + for_s, world.cut_from_etcd.clear)
        case 3:
            name = some(world, rng)
            world.cut_from_etcd |= {(name, "ask"), (name, "answer"), (name, "watch")}
            world.at(world.t + for_s, world.cut_from_etcd.clear)
        case 4:
            world.etcd_loss = rng.choice((0.0, 0.1, 0.5))
        case 5:
            world.etcd_delay_s = rng.choice(((0.0002, 0.003), (0.001, 0.05), (0.0, 0.2), (0.1, 0.6)))


def run_seed(seed: int) -> ArbitratedWorld:
    rng = random.Random(seed)
    consistent = seed % 4 != 3
    settings = settings_of(rng, consistent=consistent)
    world = ArbitratedWorld(seed, settings)
    loses_data = seed % 8 == 4
    Watch(world, never_two=consistent, ordered=consistent and not loses_data)
    for name in world.hosts:
        world.at(rng.choice((0.0, 0.0, 0.3)) * rng.random(), functools.partial(world.start, name))
    families = (fault_of_a_node, fault_between_nodes, fault_of_etcd, fault_of_etcd)
    for _ in range(rng.randrange(3, 14)):
        fault = rng.choice(families)
        world.at(0.8 * settings.lease_s + FAULTS_S * rng.random(), functools.partial(fault, world, rng))
    if loses_data:
        world.at(0.8 * settings.lease_s + FAULTS_S * rng.random(), world.store.wipe)
    world.run(0.8 * settings.lease_s + FAULTS_S + 1.6)
    settle(world)
    return world


def run_etcd_trouble(seed: int) -> ArbitratedWorld:
    """Only etcd has troubles, and nodes whose votes decide while it has: nobody lets go of anything."""
    rng = random.Random(seed)
    world = ArbitratedWorld(seed, settings_of(rng, consistent=False))
    watch = Watch(world, never_two=True, ordered=False)
    for name in world.hosts:
        world.start(name)
    world.run(3.0)
    if not all(len(world.serving(group.name)) == 1 for group in world.settings.groups):
        raise Violation("nobody has taken it to begin with")
    watch.drops.clear()
    for _ in range(rng.randrange(1, 10)):
        world.at(3.0 + FAULTS_S * rng.random(), functools.partial(fault_of_etcd, world, rng))
    world.run(3.0 + FAULTS_S + 2.0)
    world.heal_etcd()
    world.run(world.t + 3.0)
    if drops := [drop for drop in watch.drops if world.settings.groups[0] and "is ready" not in drop[3]]:
        raise Violation(f"let go, although the nodes hear each other: {drops}")
    return world


def run_restore(seed: int) -> ArbitratedWorld:
    """Etcd is put back to an earlier state, sooner than a lease is over, while nodes are cut off, die and move groups.

    Whatever a node has seen in etcd it has seen before that, as all ways to etcd are open for a moment.
    """
    rng = random.Random(f"backup {seed}")
    settings = settings_of(rng, consistent=True)
    world = ArbitratedWorld(seed, settings)
    Watch(world, never_two=True, ordered=False)
    for name in world.hosts:
        world.start(name)
    t = 2.0 + rng.random()
    for _ in range(rng.randrange(1, 4)):
        world.run(t)
        then = (world.store.revision, dict(world.store.keys))
        for _ in range(rng.randrange(1, 4)):  # what is not in the backup
            world.at(world.t + 0.8 * rng.random(), functools.partial(fault_of_a_node, world, rng))
        if rng.random() < 0.7:
            world.at(world.t + 0.8 * rng.random(), functools.partial(fault_between_nodes, world, rng))
        world.run(world.t + 0.8 + rng.random())
        world.store.is_down = True
        world.run(world.t + 0.01)  # what is on its way arrives
        bumps, after_s = rng.random() < 0.7, rng.choice((0.001, 0.02, 0.3)) * rng.random()
        world.restore_etcd(then, bumps=bumps, after_s=after_s)
        if rng.random() < 0.5:
            world.at(world.t + 0.3 * rng.random(), functools.partial(fault_of_a_node, world, rng))
        t = world.t + 0.2 + 2.0 * rng.random()
    world.run(t + 1.6)
    settle(world)
    return world


def settle(world: ArbitratedWorld) -> None:
    world.say("everything is mended")
    world.heal()
    world.heal_etcd()
    world.loss, world.delay_s = 0.0, (0.0002, 0.002)
    for name, host in world.hosts.items():
        world.resume(name)
        world.start(name)
        for group in sorted(host.unfit):
            world.set_health(name, group, ok=True)
    world.run(world.t + 0.6 + 8 * world.settings.lease_s)
    for group in world.settings.groups:
        serving = world.serving(group.name)
        if len(serving) != 1:
            raise Violation(
                f"at {world.t:.3f}, long after the last fault, {serving or 'nobody'} answers for {group.name}"
            )


def verdict(seed: int, run: Callable[[int], ArbitratedWorld] = run_seed) -> str:
    try:
        run(seed)
    except Violation as violation:
        return f"\nseed {seed}: {violation}"
    except Exception as bug:
        return f"\nseed {seed}: {bug!r}"
    return ""


def complaints(check: Callable[[int], str], seeds: Sequence[int]) -> str:
    """On all cores."""
    with multiprocessing.get_context("forkserver").Pool(os.cpu_count()) as pool:
        return "".join(pool.imap(check, seeds, chunksize=10))


def test_no_schedule_breaks_a_promise() -> None:
    assert not complaints(verdict, SEEDS)


def test_an_etcd_restored_from_a_backup_makes_no_two() -> None:
    assert not complaints(functools.partial(verdict, run=run_restore), BACKUP_SEEDS)


def test_believing_what_a_backup_says_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been lost."""
    monkeypatch.setattr(Register, "distrust", lambda self, now: None)
    assert any("both answer" in verdict(seed, run=run_restore) for seed in BACKUP_SEEDS)


def test_in_available_troubles_of_etcd_alone_move_nothing() -> None:
    assert not complaints(functools.partial(verdict, run=run_etcd_trouble), ETCD_SEEDS)


# ---------------------------------------------------------------------- without chance: what must not take longer


def steady(*, consistent: bool = True) -> ArbitratedWorld:
    """Two nodes, one group that A holds. A datagram takes 1 ms, and so does each way to etcd."""
    settings = make_settings(nodes="AB", groups={"web": ("A", "B")}, consistent=consistent)
    world = ArbitratedWorld.steady(msgspec.structs.replace(settings, arbiter="etcd", lease_s=1.0))
    world.etcd_delay_s = (0.001, 0.001)
    for name in world.hosts:
        world.start(name)
    world.run(4.0)
    assert world.serving("web") == ["A"]
    return world


def gap_ms(world: ArbitratedWorld, *, within_s: float) -> float:
    """From the last moment at which A serves to the first at which B does."""
    world.run_to(lambda: world.serving("web") != ["A"], within_s=within_s)
    start = world.t
    world.run_to(lambda: world.serving("web") == ["B"], within_s=within_s)
    return 1000 * (world.t - start)


@pytest.mark.parametrize("consistent", [True, False])
def test_a_planned_move_waits_for_no_lease(*, consistent: bool) -> None:
    world = steady(consistent=consistent)
    world.ask("A", "move", group="web", node="B")
    assert gap_ms(world, within_s=0.5) < 10


@pytest.mark.parametrize("consistent", [True, False])
def test_an_agent_whose_guardian_has_spoken_is_replaced_without_waiting(*, consistent: bool) -> None:
    world = steady(consistent=consistent)
    world.kill("A")
    assert gap_ms(world, within_s=0.5) < 10


def test_who_has_just_let_go_takes_it_back_at_once_from_a_successor_that_dies() -> None:
    world = steady()
    world.ask("A", "move", group="web", node="B")
    world.run_to(lambda: world.serving("web") == ["B"], within_s=1.0)
    world.run(world.t + 0.15)
    world.kill("B")
    world.run(world.t + 0.02)
    assert world.serving("web") == ["A"]


def test_a_group_that_a_reload_removes_is_released_there_when_it_has_been_let_go() -> None:
    world = steady()
    stored = decode(world.store.keys["web"][1])
    assert (stored.node, stored.released) == ("A", False)
    groups = tuple(group for group in world.settings.groups if group.name != "web")
    world.reconfigure(msgspec.structs.replace(world.settings, groups=groups))
    world.run_to(lambda: decode(world.store.keys["web"][1]).released, within_s=0.1)
    assert not world.serving("web")


def test_a_lost_host_is_replaced_after_a_lease() -> None:
    world = steady()
    lost_at = world.t
    world.crash("A")
    world.run_to(lambda: world.serving("web") == ["B"], within_s=2.0)
    assert 0.8 < world.t - lost_at < 1.02


def test_nodes_that_do_not_hear_each_other_ask_etcd_and_tell_what_it_says() -> None:
    world = steady()
    world.split("A", "B")
    world.run(world.t + 4.0)
    assert world.serving("web") == ["A"]
    node = world.hosts["B"].node
    assert node is not None
    seen = {group.name: group for group in node.view(world.hosts["B"].local(world.t)).groups}["web"]
    assert (seen.holder, seen.why) == ("A", "etcd gave the lease to A, which this node does not hear")


def test_without_etcd_nobody_serves_in_consistent_and_everybody_says_why() -> None:
    world = steady()
    lost_at = world.t
    world.store.is_down = True
    world.run_to(lambda: not world.serving("web"), within_s=2.0)
    assert world.t - lost_at < 1.0
    world.run(world.t + 2.0)
    for host in world.hosts.values():
        assert host.node is not None
        view = host.node.view(host.local(world.t))
        assert (view.quorate, view.arbiter_fault) == (False, "etcd does not answer")
        assert view.groups[1].why == "nobody holds it: etcd does not answer"
    world.store.is_down = False
    world.run(world.t + 1.3)
    assert len(world.serving("web")) == 1
