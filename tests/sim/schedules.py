"""Random schedules: from a seed, a cluster, its faults, its operators, and what must hold.

Every seed belongs to one family by its remainder, so that a run of consecutive seeds covers them all. With guardians
the same seed has the same schedule, and on top of it agents that die and whose guardians speak for them, drawn from a
generator of their own. With etcd the leases come from there, nodes are cut from it, and it is lost and comes back. With
turns the agents are busy now and then, so that several events wait and are one step. With weights, checks fail that
have one, and go on failing: in the end each group is where they weigh least, and stays there. With edits the set of
voters changes: files are edited one host after the other, in any order and at any time, some of them wrongly. With
freezes operators switch maintenance on, often on a node that is cut off, stop an agent soon after it, and end it. With
twins another host has the name of a node; what is cut could make two then, so nothing is. With moves the files differ
in which group has which address, and in which groups there are. With slices there are two groups more, and datagrams
are so small that a heartbeat needs several: each is lost, late or doubled by itself. With slews a time service steers
clocks, as far as it can, in steps. With forgets leases are changed host by host, and hosts lose their memory. With
shell the agents' own activation runs over a kernel in memory (`whole`), whose locks others hold, which refuses, and in
which others meddle; there events wait for each other anyhow.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from haagent.core import reserved
from haagent.core.group.handover import LIGHTER_S
from haagent.core.node import Node
from haagent.core.settings import Settings
from haagent.core.slices import ROOM
from tests.sim import faults, kernel_faults, whole
from tests.sim.faults import FAULTS_S
from tests.sim.invariants import Violation, Watch, check_addresses, check_lightest, check_settled, expected_to_be_served
from tests.sim.world import World, make_settings

ALONE_AFTER_S = 0.6
TURN_S = (0.0, 0.004)
RELIEF_S = LIGHTER_S + 3.0  # until each group is where failing checks weigh least: that may take two tries
MORE: dict[str, tuple[str, ...]] = {"mail": ("B", "A"), "ntp": ()}  # groups
ROOMS = (1, 300, 300)
VOUCHING_S = 0.3
MOVE_S = 0.1
SETTLE_S = ALONE_AFTER_S + 6 * 0.35  # the bound after the last fault: who starts alone waits, then a few leases


class Plan(msgspec.Struct, frozen=True):
    seed: int
    node_class: type[Node] = Node
    has_guardians: bool = False
    has_etcd: bool = False
    has_turns: bool = False
    has_weights: bool = False
    has_edits: bool = False
    has_freezes: bool = False
    has_twins: bool = False
    has_moves: bool = False
    has_slices: bool = False
    has_slews: bool = False
    has_forgets: bool = False
    has_shell: bool = False


def run_seed(seed: int, *, node_class: type[Node] = Node, **more: bool) -> World:
    """Run one schedule, with more that is brought about (`Plan`). Raises `Violation`; the world's transcript tells the
    story.
    """
    plan = Plan(seed, node_class, **more)
    if plan.has_edits:
        return _edited(plan)
    if plan.has_twins:
        return _doubled(plan)
    if plan.has_moves:
        return _moved(plan)
    families = (_consistent, _available_no_cut) if plan.has_etcd else FAMILIES
    return families[seed % len(families)](plan)


def first_that_shows(what: str, seeds: range, **more: bool) -> int | None:
    """The first of these schedules whose violation says so. Only those in which `consistent` promises that two never
    hold: every one of these plans has a schedule of its own, and else it is a matter of the family."""
    has_families = not {"has_edits", "has_twins", "has_moves"}.intersection(more)
    for seed in seeds:
        if has_families and FAMILIES[seed % len(FAMILIES)] is not _consistent:
            continue
        try:
            run_seed(seed, **more)
        except Violation as violation:
            if what in str(violation):
                return seed
    return None


# ---------------------------------------------------------------------- families


def _build(plan: Plan, *, consistent: bool) -> tuple[World, random.Random]:
    rng = random.Random(f"schedule {plan.seed}")
    if consistent:
        nodes, witnesses = rng.choice((("ABW", "W"), ("ABC", ""), ("ABCDE", ""), ("ABCD", "D")))
    else:
        nodes, witnesses = rng.choice((("AB", ""), ("AB", ""), ("ABC", ""), ("ABW", "W")))
    groups = rng.choice(({"web": ("A", "B")}, {"web": ("A",), "db": ("B",)}, {"web": ()}))
    settings = make_settings(
        nodes=nodes,
        witnesses=witnesses,
        groups={**groups, **MORE} if plan.has_slices else groups,
        consistent=consistent,
        failback_after_s=rng.choice((None, None, 0.5)),
        alone_after_s=ALONE_AFTER_S,
    )
    if plan.has_etcd:
        settings = msgspec.structs.replace(settings, arbiter="etcd")
    world = _world(plan, settings)
    for name in nodes:
        world.at(rng.choice((0.0, 0.0, 0.3, 1.0)) * rng.random(), lambda name=name: world.start(name))
    return world, rng


def _room(plan: Plan) -> int:
    """Of 300 bytes about a half is what every slice says; of one nothing, and an echo is in one slice only."""
    return random.Random(f"room {plan.seed}").choice(ROOMS) if plan.has_slices else ROOM


def _world(plan: Plan, settings: Settings, *, are_named: bool = False) -> World:
    turn_s = TURN_S if plan.has_turns else None
    choices = {
        "has_etcd": plan.has_etcd,
        "room": _room(plan),
        "node_class": plan.node_class,
        "are_named": are_named,
    }
    if not plan.has_shell:
        return World(plan.seed, settings, turn_s=turn_s, **choices)
    has_cloud = random.Random(f"cloud {plan.seed}").random() < 0.5
    return whole.World(plan.seed, settings, has_cloud=has_cloud, **choices)


def _disturb(world: World, rng: random.Random, among: tuple[faults.Fault, ...], *, every_s: float = 0.25) -> None:
    t = 0.0
    while (t := t + rng.expovariate(1 / every_s)) < FAULTS_S:
        fault = rng.choice(among)
        world.at(t, lambda fault=fault: fault(world, rng))


def _disturb_more(world: World, plan: Plan) -> None:
    if plan.has_etcd:
        _disturb(world, random.Random(f"etcd {plan.seed}"), (faults.etcd,), every_s=0.4)
    if plan.has_guardians:
        _disturb(world, random.Random(f"guardians {plan.seed}"), (faults.agent_dies,), every_s=0.5)
    if plan.has_weights:
        _disturb(world, random.Random(f"weights {plan.seed}"), (faults.weigh,), every_s=0.3)
    if plan.has_freezes:
        world.opens_gates_for_good = True
        _disturb(world, random.Random(f"freezes {plan.seed}"), (faults.freeze,), every_s=0.6)
    if plan.has_slews:
        _disturb(world, random.Random(f"slews {plan.seed}"), (faults.steer,), every_s=0.15)
    if plan.has_forgets:
        _disturb(world, random.Random(f"forgets {plan.seed}"), (faults.forget,), every_s=0.4)
        if world.settings.consistent:  # links are cut
            _disturb(world, random.Random(f"cut {plan.seed}"), (faults.forget_holder,), every_s=1.5)
    if isinstance(world, whole.World):
        _disturb(world, random.Random(f"kernels {plan.seed}"), kernel_faults.ANYTHING, every_s=0.3)


def _calm(world: World) -> None:
    """The last fault is over: everything that was broken is mended, everybody is started and told so."""
    world.say("calm")
    world.heal()
    world.loss, world.duplication, world.delay_s = 0.0, 0.0, (0.0002, 0.002)
    world.failing.clear()
    if isinstance(world, whole.World):
        for kernel in world.kernels.values():
            kernel.refusing.clear()
    for name, host in world.hosts.items():
        world.resume(name)
        world.start(name)
        for group in sorted(host.unfit):
            world.set_health(name, group, ok=True)


def _operator_mends(world: World) -> None:
    first = _singles(world)[0]
    for name in world.hosts:
        if name not in world.settings.witnesses:
            world.ask(first, "standby", node=name, on=False)
    world.ask(first, "maintenance", on=False)
    world.ask(first, "clear")


def _operator_vouches(world: World) -> None:
    """Whoever has anything in place has been started, and heard that maintenance is over. On a node that says that
    something may be left all the same; those that have lost their memory do not."""
    first = next((name for name in _singles(world) if _waits_for_somebody(world, name)), "")
    if first:
        world.ask(first, "maintenance", on=False, force=True)


def _singles(world: World) -> list[str]:
    """Hosts whose names are theirs alone."""
    mine = [host.me for host in world.hosts.values()]
    return [name for name, host in world.hosts.items() if mine.count(host.me) == 1]


def _waits_for_somebody(world: World, name: str) -> bool:
    if (node := world.hosts[name].node) is None:
        return False
    is_kept = any(reserved.keeper(node.state, group) for group in node.state.left)
    return is_kept or node.state.orders.in_maintenance


def _settle(world: World, plan: Plan) -> None:
    world.at(FAULTS_S, lambda: _calm(world))
    # A stop under way may end only now; the operator speaks when all are back and can hear.
    for at in (1.1, 1.4 + VOUCHING_S):
        world.at(FAULTS_S + at, lambda: [world.start(name) for name in world.hosts])
    mended_at = FAULTS_S + 1.4
    world.at(mended_at, lambda: _operator_mends(world))
    world.at(mended_at + VOUCHING_S, lambda: _operator_vouches(world))
    world.run(mended_at + VOUCHING_S + SETTLE_S)
    if plan.has_weights and any(not world.serving(group) for group in expected_to_be_served(world)):
        world.run(world.t + MOVE_S)  # it may be on its way to where failing checks weigh less
    check_settled(world)
    if plan.has_weights:
        world.run(world.t + RELIEF_S)
        check_lightest(world)
        watch = Watch(world, never_two=True, ordered=False)
        world.run(world.t + 2 * LIGHTER_S)
        if watch.drops:
            raise Violation(f"what is where it should be moves: {watch.drops}")


def _consistent(plan: Plan) -> World:
    """Anything may happen; two never hold. Ballots only rise, as far as memories reach."""
    world, rng = _build(plan, consistent=True)
    Watch(world, never_two=True, ordered=not plan.has_forgets)
    return _run(
        world, lambda: (_disturb(world, rng, faults.ANYTHING), _disturb_more(world, plan), _settle(world, plan))
    )


def _available_no_cut(plan: Plan) -> World:
    """No link is cut and nothing is lost: two never hold in `available` either."""
    world, rng = _build(plan, consistent=False)
    Watch(world, never_two=True, ordered=False)
    return _run(world, lambda: (_disturb(world, rng, faults.NO_CUT), _disturb_more(world, plan), _settle(world, plan)))


def _available(plan: Plan) -> World:
    """Two may hold while a link is cut; one heartbeat after the heal, one does."""
    world, rng = _build(plan, consistent=False)
    Watch(world, never_two=False, ordered=False)

    def play() -> None:
        if rng.random() < 0.5:
            _disturb(world, rng, faults.ANYTHING)
            _disturb_more(world, plan)
            _settle(world, plan)
            return
        _heal_in_one_heartbeat(world, rng, beats=2 if plan.has_slices else 1)

    return _run(world, play)


def _heal_in_one_heartbeat(world: World, rng: random.Random, *, beats: int) -> None:
    """Of which all is heard: of one in slices that may be said with the next."""
    world.run(ALONE_AFTER_S + 1.5)
    faults.split(world, rng)
    world.run(world.t + 0.2 + rng.random())
    faults.heal(world, rng)
    # A heartbeat is due within one interval; it is answered at once, and letting go takes a millisecond.
    world.run(world.t + 0.1 * beats + 0.015)
    for group in world.settings.groups:
        if len(serving := world.serving(group.name)) != 1:
            raise Violation(f"one heartbeat after the heal {group.name} is served by {serving or 'nobody'}")
    world.run(world.t + 0.5)
    check_settled(world)


def _bystander_dies(plan: Plan) -> World:
    """The death of nodes that hold nothing, one at a time, never interrupts a holder."""
    world, rng = _build(plan, consistent=rng_bool(plan.seed))
    watch = Watch(world, never_two=True, ordered=False)

    def play() -> None:
        world.run(ALONE_AFTER_S + 2.0)
        holders = {name for group in world.settings.groups for name in world.serving(group.name)}
        bystanders = [name for name in world.hosts if name not in holders]
        if not bystanders:
            return
        watch.drops.clear()
        for _ in range(3):
            name = rng.choice(bystanders)
            die = world.kill if plan.has_guardians else world.crash
            (die if rng.random() < 0.5 else world.stop)(name)
            if plan.has_turns:
                world.run(world.t + TURN_S[1] + 0.01)  # a busy agent hears of its stop later, and is started after it
            world.run(world.t + rng.choice((0.01, 0.1, 0.3, 0.35, 0.4, 1.0)) * rng.random())
            world.start(name)
            # A restarted voter is silent for one lease: the next death must not come before that.
            world.run(world.t + 0.6 + 0.5 * rng.random())
            for t, host, group, why in watch.drops:
                if world.settings.groups[1].failback_after_s is None or "ready" not in why:
                    raise Violation(f"at {t:.6f} {host} let go of {group} because {name} died: {why}")

    return _run(world, play)


def _edited(plan: Plan) -> World:
    """Voters come and go while anything may happen; two never hold. In the end all files say the same."""
    rng = random.Random(f"edits {plan.seed}")
    everybody = make_settings(
        nodes=faults.HOSTS,
        witnesses=rng.choice(("", "C")),
        groups=rng.choice(({"web": ("A", "B")}, {"web": ()})),
        alone_after_s=ALONE_AFTER_S,
    )
    world = _world(plan, everybody)
    first = rng.choice(("ABC", "ABC", "ABCD", "AB", "ABCDE"))
    for name in world.hosts:
        # Whoever comes later was given the file of one that is there, and itself.
        world.files[name] = faults.with_voters(world, {*first, name})
    for name in first:
        world.at(0.3 * rng.random(), lambda name=name: world.start(name))
    Watch(world, never_two=True, ordered=True)

    def play() -> None:
        _disturb(world, rng, faults.ANYTHING, every_s=0.4)
        _disturb(world, rng, (faults.edit,), every_s=0.6)
        _disturb(world, random.Random(f"outgrow {plan.seed}"), (faults.outgrow,), every_s=1.5)
        _disturb_more(world, plan)
        world.at(FAULTS_S + 1.05, lambda: _agree(world))  # the last operator has finished
        _settle(world, plan)

    return _run(world, play)


def _doubled(plan: Plan) -> World:
    """Another host has the name of a node, all hear all, and two never hold. In `available` they may while nobody else
    is there. In the end one of the two is left, or both."""
    world, rng = _build(plan, consistent=rng_bool(plan.seed))
    world.may_be_doubled = True
    Watch(world, never_two=world.settings.consistent, ordered=False)

    def play() -> None:
        _disturb(world, rng, faults.NO_CUT)
        _disturb(world, rng, (faults.double,), every_s=0.6)
        if (beside := random.Random(f"beside {plan.seed}")).random() < 0.3:
            _disturb(world, beside, (faults.double_beside_a_start,), every_s=0.8)
        _disturb_more(world, plan)
        if rng.random() < 0.5:
            world.at(FAULTS_S - 0.01, lambda: world.retire(faults.TWIN))
        _settle(world, plan)

    return _run(world, play)


def _agree(world: World) -> None:
    """Every file has the voters that were agreed last; the others run on, and have no vote."""
    known = [host.node.state.agreed for host in world.hosts.values() if host.node is not None]
    known += [host.memory.agreed for host in world.hosts.values() if host.memory.agreed is not None]
    voters = max(known, key=lambda agreed: (agreed.term, agreed.version)).voters
    for name in world.hosts:
        world.edit(name, faults.with_voters(world, {*voters, name}))
    world.settings = faults.with_voters(world, voters)


def _moved(plan: Plan) -> World:
    """Addresses move from group to group, and groups come and go, in one file after the other; two never have one.

    Where votes do not count, or whoever is alive decides, nothing is cut or lost.
    """
    rng = random.Random(f"moves {plan.seed}")
    is_consistent = plan.has_etcd or rng.random() < 0.7
    nodes, witnesses = rng.choice((("ABW", "W"), ("ABC", ""), ("ABCDE", "")))
    if plan.has_etcd or not is_consistent:
        nodes, witnesses = rng.choice((("AB", ""), ("ABC", "")))
    settings = make_settings(nodes=nodes, witnesses=witnesses, consistent=is_consistent, alone_after_s=ALONE_AFTER_S)
    if plan.has_etcd:
        settings = msgspec.structs.replace(settings, arbiter="etcd")
    files = [faults.with_groups(settings, rng, str(number)) for number in range(rng.choice((2, 2, 3)))]
    world = _world(plan, files[0], are_named=True)
    world.files = dict.fromkeys(world.hosts, files[0])
    for name in nodes:
        world.at(0.3 * rng.random(), lambda name=name: world.start(name))
    Watch(world, never_two=True, ordered=is_consistent and not plan.has_etcd)

    def reload(name: str) -> None:
        file = rng.choice(files)
        world.say(f"{name} has file {file.config_hash}: {faults.in_words(file)}")
        world.edit(name, file)

    def agree() -> None:
        world.settings = files[-1]
        for name in world.hosts:
            world.edit(name, files[-1])

    def play() -> None:
        everything = is_consistent and not plan.has_etcd
        _disturb(world, rng, faults.ANYTHING if everything else faults.NO_CUT, every_s=0.5)
        _disturb(world, rng, (lambda world, rng: reload(rng.choice([*world.hosts])),), every_s=0.3)
        _disturb_more(world, plan)
        world.at(FAULTS_S + 1.05, agree)
        _settle(world, plan)
        check_addresses(world)

    return _run(world, play)


FAMILIES = (_consistent, _available_no_cut, _consistent, _available, _bystander_dies)


def rng_bool(seed: int) -> bool:
    return random.Random(f"policy {seed}").random() < 0.5


def _run(world: World, play: Callable[[], object]) -> World:
    try:
        play()
    except Violation as violation:
        world.say(f"VIOLATION {violation}")
        violation.transcript = world.transcript  # type: ignore[attr-defined]
        raise
    return world
