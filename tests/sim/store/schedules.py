"""One life of a cluster of stores, by seed: what clients do, and what goes wrong."""

from __future__ import annotations

from haagent.core.store.events import Died
from haagent.core.store.space import Hash
from tests.sim.store.world import START_MS, Node, World

FAULTS_S = 90.0
HEAL_S = 45.0


def play(seed: int) -> World:
    world = World(seed)
    world.run(10.0)  # all are ready
    for node in world.nodes.values():
        node.skew_ms = world.chance.choice((0, 300, -300, 2_000, -2_000, 7_000))
    clients(world)
    faults(world)
    world.run(FAULTS_S)
    heal(world)
    world.run(FAULTS_S + HEAL_S)
    for node in world.nodes.values():
        node.store.expire_some(world.wall_ms(node), 1_000_000)
    world.check()
    world.check_end()
    return world


def clients(world: World) -> None:
    chance = world.chance
    sessions: list[bytes] = []
    pace_s = chance.choice((0.04, 0.1, 0.5))

    def act() -> None:
        if world.now < FAULTS_S + 5:
            world.at(world.now + chance.expovariate(1 / pace_s), act)
        ready = [node for node in world.nodes.values() if node.is_ready and node.replica is not None]
        if ready:
            request(world, chance.choice(ready), sessions)
        if chance.random() < 0.1:
            world.check()

    world.at(world.now, act)


def request(world: World, node: Node, sessions: list[bytes]) -> None:
    chance, now_ms, store = world.chance, world.wall_ms(node), node.store
    far_ms = START_MS + chance.choice((60_000, 300_000, 300_000, 300_000))
    value = b"%d" % world.count
    key = chance.choice(sessions[-30:]) if sessions else b"sess:0"
    found = store.find(now_ms, 0, key)
    deed = chance.random()
    if deed < 0.01:  # many at once
        for number in range(60):
            store.put(now_ms, 0, b"sess:%s.%d" % (value, number), value, far_ms)
            world.ship(node)
    elif deed < 0.2 or not sessions:
        sessions.append(b"sess:%d" % len(sessions))
        store.put(now_ms, 0, sessions[-1], value, far_ms)
    elif deed < 0.5:
        if found is not None and not isinstance(found, Hash):  # a request that has read it saves it
            store.put(now_ms, 0, key, value, far_ms)
    elif deed < 0.65:
        store.expire(now_ms, 0, key, far_ms)
    elif deed < 0.75:
        if store.remove(now_ms, 0, key) and world.are_clocks_right:
            node.removed.add(key)
    elif deed < 0.85:
        store.put(now_ms, 0, b"plain%d" % chance.randrange(5), value, 0)
    elif deed < 0.9:
        store.remove(now_ms, 0, b"plain%d" % chance.randrange(5))
    elif deed < 0.95:
        store.put_fields(now_ms, 0, b"spring:session:sessions:%d" % chance.randrange(5), {value[-1:]: value})
    elif deed < 0.99:
        store.put(now_ms, 0, b"sess:%s_LOCK" % value, b"", 0)
    elif chance.random() < 0.1:
        store.flush(now_ms, 0)
    world.ship(node)


def faults(world: World) -> None:
    chance = world.chance
    pairs = [(one, other) for one in world.nodes for other in world.nodes if one < other]

    def strike() -> None:
        if world.now < FAULTS_S - 1:
            world.at(world.now + chance.expovariate(1 / 5.0), strike)
        if world.now > FAULTS_S:
            return
        match chance.randrange(8):
            case 0:  # one way between two
                world.cut.symmetric_difference_update([chance.choice(pairs)])
            case 1:  # one node from all others
                one = chance.choice(list(world.nodes))
                world.cut |= {pair for pair in pairs if one in pair}
            case 2:
                world.cut.clear()
            case 3:  # a connection is lost, and made again
                pair = chance.choice(pairs)
                if pair in world.links:
                    world.unlink(pair)
            case 4 | 5:
                fall(world, chance.choice(list(world.nodes)))
            case 6:
                world.delay_s[chance.choice(list(world.nodes))] = chance.choice((0.001, 0.02, 0.4))
            case 7:  # somebody believes that a node is lost, and it is not
                pair = chance.choice(pairs)
                if pair in world.links:
                    world.step(world.nodes[pair[0]], Died(pair[1]))
                    world.unlink(pair)
        world.connect()

    world.at(world.now, strike)


def fall(world: World, name: str) -> None:
    chance = world.chance
    if world.nodes[name].replica is None:
        return
    kept = world.crash(name)
    is_kept = chance.random() < 0.3
    if is_kept:
        kept.take_effects()

    def rise() -> None:
        if world.nodes[name].replica is None:
            world.start(name, kept if is_kept else None)

    world.at(world.now + chance.choice((0.3, 3.0, 30.0)), rise)


def heal(world: World) -> None:
    world.cut.clear()
    world.delay_s = dict.fromkeys(world.nodes, 0.001)
    for node in world.nodes.values():
        node.skew_ms = 0
    for name, node in world.nodes.items():
        if node.replica is None:
            world.start(name)
    world.connect()
