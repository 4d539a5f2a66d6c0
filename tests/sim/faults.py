"""What befalls a cluster in the schedules, and who operates it: one fault each, drawn anew with every call."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import msgspec

from haagent.core.settings import SLEW, Memory, Settings
from haagent.simulate.shell import LAST_WORDS_S
from tests.sim.world import PlannedKill, World, make_settings

Fault = Callable[[World, random.Random], None]
TWIN = "T"  # a host that has another's name
HOSTS = "ABCDE"  # of a world in which voters come and go
LEASES_S = 0.35, 0.35, 0.7, 1.4
FAULTS_S = 3.0  # of virtual time, at an interval of 100 ms; then all is mended


def cut_one_way(world: World, rng: random.Random) -> None:
    source, target = rng.sample(list(world.hosts), 2)
    world.say(f"cut {source} -> {target}")
    world.cut(source, target)


def split(world: World, rng: random.Random) -> None:
    names = list(world.hosts)
    rng.shuffle(names)
    at = rng.randrange(1, len(names))
    world.say(f"split {''.join(names[:at])} | {''.join(names[at:])}")
    world.split("".join(names[:at]), "".join(names[at:]))


def heal(world: World, _: random.Random) -> None:
    world.say("heal all links")
    world.heal()


def pause(world: World, rng: random.Random) -> None:
    name = rng.choice(list(world.hosts))
    world.pause(name)
    world.at(world.t + rng.choice((0.02, 0.2, 0.5, 1.5)) * rng.random(), lambda: world.resume(name))


def crash(world: World, rng: random.Random) -> None:
    name = rng.choice(list(world.hosts))
    world.crash(name)
    world.at(world.t + rng.choice((0.001, 0.1, 1.0)) * rng.random(), lambda: world.start(name))


def crash_twice(world: World, rng: random.Random) -> None:
    """The second life ends before it has a vote, or just after."""
    name = rng.choice(list(world.hosts))
    t = world.t
    world.crash(name)
    for again in range(2):
        t += rng.choice((0.001, 0.1, 0.5)) * rng.random()
        world.at(t, lambda: world.start(name))
        if not again:
            t += rng.choice((0.01, 0.4)) * rng.random()
            world.at(t, lambda: world.crash(name))


def stop(world: World, rng: random.Random) -> None:
    name = rng.choice(list(world.hosts))
    world.stop(name)
    world.at(world.t + 0.05 + rng.random(), lambda: world.start(name))


def lose(world: World, rng: random.Random) -> None:
    world.loss = rng.choice((0.0, 0.05, 0.3, 0.7))
    world.say(f"loss {world.loss:.0%}")


def delay(world: World, rng: random.Random) -> None:
    world.delay_s = rng.choice(((0.0001, 0.001), (0.001, 0.04), (0.0, 0.3), (0.2, 0.5)))
    world.duplication = rng.choice((0.0, 0.2))
    world.say(f"delay {world.delay_s}")


def mild_delay(world: World, rng: random.Random) -> None:
    world.delay_s = rng.choice(((0.0001, 0.001), (0.001, 0.02), (0.0, 0.03)))
    world.duplication = rng.choice((0.0, 0.3))
    world.say(f"delay {world.delay_s}")


def health(world: World, rng: random.Random) -> None:
    name, group = rng.choice(list(world.hosts)), rng.choice([group.name for group in world.settings.groups[1:]])
    ok = group in world.hosts[name].unfit
    world.say(f"{name} {'fit' if ok else 'unfit'} for {group}")
    world.set_health(name, group, ok=ok)


def fail(world: World, rng: random.Random) -> None:
    name, group = rng.choice(list(world.hosts)), rng.choice([group.name for group in world.settings.groups[1:]])
    world.failing[(name, group)] = not world.failing.get((name, group), False)
    world.say(f"activation of {group} on {name} {'fails' if world.failing[(name, group)] else 'works'}")


def operate(world: World, rng: random.Random) -> None:
    name, node = rng.choice(list(world.hosts)), rng.choice(list(world.hosts))
    group = rng.choice([group.name for group in world.settings.groups])
    what = rng.choice(("move", "move", "move", "standby", "standby", "maintenance", "clear"))
    match what:
        case "move":
            world.ask(name, "move", group=group, node=node, force=rng.random() < 0.2, wait_s=rng.choice((0.3, 10.0)))
        case "standby":
            world.ask(name, "standby", node=node, on=rng.random() < 0.6)
        case "maintenance":
            is_on, is_forced = rng.random() < 0.5, rng.random() < 0.3
            # Where a stopped agent leaves its gate open, nobody insists while one is away.
            world.ask(name, "maintenance", on=is_on, force=is_forced and not world.opens_gates_for_good)
        case "clear":
            world.ask(name, "clear", group=group)


def freeze(world: World, rng: random.Random) -> None:
    """Maintenance is switched on, and an agent stopped within a lease or so; often the word cannot get about.

    And it is ended by somebody who may not know of the stop yet, or before all is taken back.
    """
    name = rng.choice(list(world.hosts))
    # Else a cut makes two at once, maintenance or not.
    if world.settings.consistent and not world.only_a_witness_hears_both and rng.random() < 0.4:
        world.say(f"cut {name} off")
        for other in world.hosts:
            world.cut(name, other)
            if rng.random() < 0.7:
                world.cut(other, name)
        world.at(world.t + 0.3 + rng.random(), world.heal)
    said_at = world.t + 0.2 * rng.random()
    world.at(said_at, lambda: world.ask(name, "maintenance", on=True))
    stopped_at = said_at + rng.choice((0.005, 0.1, 0.4, 0.8)) * rng.random()
    other = name if rng.random() < 0.7 else rng.choice(list(world.hosts))
    world.at(stopped_at, lambda: world.stop(other))
    world.at(stopped_at + rng.choice((0.5, 2.0)) * rng.random(), lambda: world.start(other))
    if rng.random() < 0.6:
        ended_at, at = stopped_at + rng.choice((-0.004, 0.004, 0.3, 1.0)) * rng.random(), rng.choice(list(world.hosts))
        world.at(max(said_at, ended_at), lambda: world.ask(at, "maintenance", on=False))


def double(world: World, rng: random.Random) -> None:
    """Another host is started under a node's name, and may go again."""
    if TWIN not in world.hosts:
        name = rng.choice(world.settings.voters)
        world.say(f"there is another host, {TWIN}, that says it is {name}")
        world.double(name, TWIN)
    world.start(TWIN)
    if rng.random() < 0.5:
        end = world.stop if rng.random() < 0.5 else world.crash
        world.at(world.t + rng.choice((0.05, 0.5, 2.0)) * rng.random(), lambda: end(TWIN))


def double_beside_a_start(world: World, rng: random.Random) -> None:
    """A voter starts again, and hears the twin of the holder before it knows the holder."""
    holders = world.serving("leader")
    if TWIN not in world.hosts and holders:
        world.say(f"there is another host, {TWIN}, that says it is {holders[0]}")
        world.double(holders[0], TWIN)
    if TWIN not in world.hosts:
        return
    other = rng.choice([host for host in world.hosts if world.hosts[host].me != world.hosts[TWIN].me])
    world.crash(TWIN)
    world.crash(other)
    world.at(world.t + 0.02 * rng.random(), lambda: world.start(other))
    world.at(world.t + 0.2 * rng.random(), lambda: world.start(TWIN))


def amnesia(world: World, rng: random.Random) -> None:
    """Two nodes do not hear each other, and the voter between them forgets what it has promised to the first."""
    one, other = rng.sample(list(world.hosts), 2)
    world.say(f"cut {one} - {other}")
    world.cut(one, other)
    world.cut(other, one)
    third = rng.choice([name for name in list(world.hosts) if name not in (one, other)] or [one])
    at = world.t + 0.3 + 0.4 * rng.random()
    world.at(at, lambda: world.crash(third))
    world.at(at + 0.1 * rng.random(), lambda: world.start(third))


def forget(world: World, rng: random.Random) -> None:
    """An operator changes a lease, on one host or on one after the other; or a host starts again without a memory."""
    if rng.random() < 0.5:
        lease_s, hosts = rng.choice(LEASES_S), rng.sample(list(world.hosts), rng.randint(1, len(world.hosts)))
        for late, name in enumerate(hosts):
            world.at(world.t + 0.1 * late, lambda name=name: _let(world, name, lease_s))
        return
    name = rng.choice(list(world.hosts))
    _lose_memory(world, name)
    world.at(world.t + 0.4 * rng.random(), lambda: world.start(name))


def forget_holder(world: World, rng: random.Random) -> None:
    """One host does not hear the holder, until it is bound to it no more. Then the holder is cut off from the others
    too, and these, which are bound to it, forget that."""
    if not (holders := world.serving("web")):
        return
    holder, others = holders[0], [name for name in world.hosts if name != holders[0]]
    deaf = rng.choice(others)
    if rng.random() < 0.5:  # the holder's lease is longer than anybody else's file says
        for name in world.hosts:
            _let(world, name, LEASES_S[-1] if name == holder else LEASES_S[0])
    world.say(f"cut {holder} - {deaf}")
    world.cut(holder, deaf)
    world.cut(deaf, holder)
    at = world.t + rng.choice((0.4, 0.8, 1.5)) * (0.9 + 0.2 * rng.random())
    if at >= FAULTS_S:
        return
    world.at(at, lambda: world.split([holder], others))
    for name in others:
        if name != deaf:
            lost_at = at + 0.05 * rng.random()
            world.at(lost_at, lambda name=name: _lose_memory(world, name))
            world.at(lost_at + 0.05 * rng.random(), lambda name=name: world.start(name))


def _lose_memory(world: World, name: str) -> None:
    """Not while there is maintenance: what a node that has stopped left in place is known from the others' memories."""
    memories = (host.memory for host in world.hosts.values())
    if any(order.key == "maintenance" and order.on for memory in memories for order in memory.orders):
        return
    world.crash(name)
    world.say(f"{name} has lost its memory")
    world.hosts[name].memory = Memory()


def _let(world: World, name: str, lease_s: float) -> None:
    """An agent that runs refuses that, and has to be restarted. Votes bear it, what an etcd was told does not."""
    world.say(f"the file of {name} has a lease of {lease_s} s")
    settings = msgspec.structs.replace(world.file(name), lease_s=lease_s)
    if world.etcd is None or world.hosts[name].node is None:
        world.edit(name, settings)
        return
    world.files[name] = settings
    world.stop(name)
    for late_s in (0.05, 0.4):  # a stop may take long
        world.at(world.t + late_s, lambda: world.start(name))


def agent_dies(world: World, rng: random.Random) -> None:
    """Between two steps or in the middle of one; what its guardian says comes in time, late, often or not at all."""
    name = rng.choice(list(world.hosts))
    words_s = rng.choice(
        (
            LAST_WORDS_S,
            LAST_WORDS_S,
            (0.0,),
            (),
            (rng.choice((0.05, 0.3, 1.0)) * rng.random(),),
            tuple(sorted(rng.choice((0.005, 0.05, 0.5)) * rng.random() for _ in range(4))),
        )
    )
    if rng.random() < 0.5:
        world.kill(name, words_s=words_s)
    else:
        world.plan_kill(name, PlannedKill(after=rng.randrange(6), words_s=words_s))
    world.at(world.t + rng.choice((0.001, 0.01, 0.1, 1.0)) * rng.random(), lambda: world.start(name))


def etcd(world: World, rng: random.Random) -> None:
    """Lost for all, cut from one, one way only, or back."""
    names = list(world.hosts)
    what = rng.choice(("lost", "cut", "deaf", "mute", "back", "back"))
    world.say(f"etcd {what}")
    hosts = names if what in ("lost", "back") else [rng.choice(names)]
    ways = {(name, "etcd") for name in hosts if what != "deaf"} | {("etcd", name) for name in hosts if what != "mute"}
    world.cuts = world.cuts - ways if what == "back" else world.cuts | ways


def weigh(world: World, rng: random.Random) -> None:
    name, group = rng.choice(list(world.hosts)), rng.choice([group.name for group in world.settings.groups[1:]])
    penalty = rng.choice((0, 0, 10, 20, 30))
    world.say(f"failing checks for {group} weigh {penalty} on {name}")
    world.set_penalty(name, group, penalty)


def steer(world: World, rng: random.Random) -> None:
    """As far as Linux lets a time service steer, and from one end to the other at one blow."""
    name, slew = rng.choice(list(world.hosts)), rng.choice((-SLEW, -SLEW, SLEW, 0.0, rng.uniform(-SLEW, SLEW)))
    world.say(f"the clock of {name} is steered by {100 * slew:+.1f} %")
    world.steer(name, slew)


ANYTHING: tuple[Fault, ...] = (
    *(cut_one_way, split, split, heal, heal, heal, pause, pause, crash, crash),
    *(crash_twice, amnesia, stop, lose, delay, health, fail, operate, operate),
)
NO_CUT: tuple[Fault, ...] = (
    *(pause, pause, crash, crash, crash_twice, stop),
    *(mild_delay, health, fail, operate, operate),
)


def with_voters(world: World, names: Iterable[str]) -> Settings:
    nodes = tuple(node for node in world.settings.nodes if node.name in names)
    return msgspec.structs.replace(world.settings, nodes=nodes)


def with_groups(settings: Settings, rng: random.Random, name: str) -> Settings:
    """Another file: some groups, and which of them has which of three addresses."""
    names = rng.sample(("web", "db", "www"), rng.choice((1, 2, 2, 3)))
    where = {number: rng.choice(names) for number in (1, 2, 3) if rng.random() < 0.9}
    groups = {group: tuple(rng.sample("AB", 2)) for group in names}
    addresses = {group: tuple(number for number in where if where[number] == group) for group in names}
    made = make_settings(groups=groups, addresses=addresses)
    return msgspec.structs.replace(settings, groups=made.groups, config_hash=name)


def in_words(settings: Settings) -> str:
    return ", ".join(f"{group.name} {[*group.addresses]}" for group in settings.groups[1:])


def edit(world: World, rng: random.Random) -> None:
    """An operator adds a voter or removes one, on one host after the other; now and then something bold, on one."""
    name, other = rng.choice(list(world.hosts)), rng.choice(HOSTS)
    voters, hosts = {*world.file(name).voters} ^ {other}, [*HOSTS]
    if rng.random() < 0.2:
        voters, hosts = {*rng.sample(HOSTS, rng.randint(1, 5))}, [name]
    rng.shuffle(hosts)
    t = world.t
    for host in hosts[: rng.choice((1, 3, 5, 5))]:
        if world.hosts[host].memory.agreed is not None:  # a new one has the file of one that is there
            world.at(t, lambda host=host: _write(world, rng, host, {*voters, host}))
            t += 0.2 * rng.random()  # all within a second
    if rng.random() < 0.5:
        world.start(other)


def outgrow(world: World, rng: random.Random) -> None:
    """The leader has two new voters within moments, and is cut off from some of the others at the same time."""
    leaders = world.serving("leader")
    node = world.hosts[leaders[0]].node if leaders else None
    if node is None:
        return
    leader, present = leaders[0], [*node.state.agreed.voters]
    new = [name for name in HOSTS if name not in present][:2]
    for name in new:
        world.start(name)
    holders = world.serving("web")
    if holders and holders[0] != leader:
        world.say(f"cut {holders[0]} off")
        world.split([holders[0]], [name for name in world.hosts if name != holders[0]])
    else:
        deaf = [name for name in present if name != leader]
        world.say(f"cut {' and '.join(deaf)} off")
        world.split(deaf, [name for name in world.hosts if name not in deaf])
    for late in range(len(new)):
        at = world.t + (0.01, 0.06)[late] + 0.04 * rng.random()
        voters = {*present, *new[: late + 1]}
        world.at(at, lambda voters=voters: world.edit(leader, with_voters(world, voters)))


def _write(world: World, rng: random.Random, name: str, voters: set[str]) -> None:
    world.say(f"the file of {name} has the voters {', '.join(sorted(voters))}")
    world.edit(name, with_voters(world, voters))
    if rng.random() < 0.2:
        world.crash(name)
        world.at(world.t + rng.random(), lambda: world.start(name))
