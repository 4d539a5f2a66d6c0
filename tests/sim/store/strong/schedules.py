"""One life of a cluster in which one store leads, by seed: what goes wrong, and whether any client could tell."""

from __future__ import annotations

from tests.sim.store.strong.clients import Clients
from tests.sim.store.strong.world import LEASE_S, Lost, Node, World
from trials.linear.checker import objection

FAULTS_S, HEAL_S = 20.0, 8.0


class Violation(Exception):
    """Something that was promised is not so."""


def play(seed: int) -> tuple[World, Clients]:
    world = World(seed)
    clients = Clients(world, FAULTS_S + HEAL_S)
    world.at(3.0, lambda: strike(world))
    try:
        world.run(FAULTS_S)
        heal(world)
        world.run(FAULTS_S + HEAL_S + 1.0)
        check_end(world)
    except Lost:
        pass  # it was said; what was answered before it was right all the same
    if found := objection(clients.history.values()):
        raise Violation(found)
    return world, clients


def strike(world: World) -> None:
    chance = world.chance
    pairs = [(one, other) for one in world.nodes for other in world.nodes if one < other]
    if world.now >= FAULTS_S - 1:
        return
    world.at(world.now + chance.expovariate(1 / 0.7), lambda: strike(world))
    one = chance.choice(list(world.nodes.values()))
    leading = [node for node in world.nodes.values() if node.held is not None]
    if leading and chance.random() < 0.5:
        one = leading[0]
    match chance.randrange(11):
        case 0:
            world.cut.symmetric_difference_update([chance.choice(pairs)])
        case 1:
            world.cut |= {pair for pair in pairs if one.name in pair}
        case 2 | 3:
            world.cut.clear()
        case 4:
            fall(world, one, whole=True)
        case 5:
            fall(world, one, whole=False)
        case 6 | 10:
            if world.now >= one.frozen_until:
                one.frozen_until = world.now + chance.choice((0.3, 2.0 * LEASE_S, 3.0 * LEASE_S))
        case 7:
            world.delay_s[one.name] = chance.choice((0.0005, 0.005, 0.1))
        case 8:
            world.loss = chance.choice((0.0, 0.3))
        case 9:
            one.skew_ms = chance.choice((0, 300, -300, 6_000, -6_000))
    world.connect()


def fall(world: World, node: Node, *, whole: bool) -> None:
    """The agent, and with it the store; or the store alone. But for what nobody promises to survive."""
    if node.register is None or not (whole or node.machine) or not is_bearable(world, node, whole=whole):
        return
    if whole:
        world.stop_agent(node.name)
    else:
        world.stop_store(node.name)
    boot = node.boot

    def rise() -> None:
        if node.boot != boot:
            return
        if whole:
            world.start_agent(node.name)
        elif node.machine is None:
            world.start_store(node.name)

    world.at(world.now + world.chance.choice((0.05, 0.3, 2.0)), rise)


def is_bearable(world: World, victim: Node, *, whole: bool) -> bool:
    """A majority of the voters remembers, and of those that have all that was answered one lives."""
    others = [node for node in world.nodes.values() if node is not victim and node.register is not None]
    remembering = [node for node in others if node.register and node.register.said.record is not None]
    if whole and 2 * len(remembering) <= len(world.nodes):
        return False
    there = [node for node in world.nodes.values() if node.register is not None]
    records = [node.register.said.record for node in there if node.register]
    known = [record for record in records if record is not None]
    if not known:
        return False
    newest = max(known, key=lambda record: (record.ballot, record.version))
    return any(node.machine and newest.members.get(node.name) == node.machine.life for node in others)


def heal(world: World) -> None:
    world.cut.clear()
    world.loss = 0.0
    world.delay_s = dict.fromkeys(world.nodes, 0.001)
    for name, node in world.nodes.items():
        node.skew_ms = 0
        if node.register is None:
            world.start_agent(name)
        elif node.has_store and node.machine is None:
            world.start_store(name)
    world.connect()


def check_end(world: World) -> None:
    """All is well again: one leads, all are in step with it, and equal."""
    stores = {node.name: node.machine for node in world.nodes.values() if node.machine is not None}
    leaders = [name for name, machine in stores.items() if machine.serves(world.now)]
    if len(leaders) != 1:
        raise Violation(f"these lead: {leaders}")
    register = world.nodes[leaders[0]].register
    assert register is not None
    lives = {name: machine.life for name, machine in stores.items()}
    if register.agreed is None or register.agreed.members != lives:
        raise Violation(f"{leaders[0]} leads, and the record is {register.agreed}, not {lives}")
    for name, machine in stores.items():
        if machine.store.digests() != stores[leaders[0]].store.digests():
            raise Violation(f"{name} and {leaders[0]} differ")
