"""Clients of a world in which one store leads: what they ask, on whichever node, and what they are told.

A node whose store does not serve passes on what it is asked to the one that it follows. What was certainly not executed
is no operation; what broke off on its way has an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haagent.core.store.store import Store
from haagent.core.store.strong.events import Looked, Outcome, Wrote
from tests.sim.store.strong.world import Node, World
from trials.linear.history import FOREVER, Operation

CLIENTS = 6
PATIENCE_S = 1.0
KEYS_CHANGE_S = 6.0  # and so a history stays short
REFUSED = object()

Answered = Callable[[Any], None]  # with what the command has answered, or REFUSED


class Clients:
    def __init__(self, world: World, until: float) -> None:
        self.history: dict[int, Operation] = {}  # each as it is known so far
        self.answers = 0
        self._world = world
        self._until = until
        for number in range(CLIENTS):
            world.at(world.now, lambda number=number: self._act(number))  # type: ignore[misc]

    def _act(self, number: int) -> None:
        world = self._world
        if world.now >= self._until:
            return
        node = world.chance.choice([node for node in world.nodes.values() if node.has_store])
        world.count += 1
        asked = world.count
        operation = self._operation(f"{number}.{asked}")
        self.history[asked] = operation
        over = [False]

        def go_on() -> None:
            if not over[0]:
                over[0] = True
                world.at(world.now + world.chance.expovariate(1 / 0.06), lambda: self._act(number))

        def answered(result: Any) -> None:
            if result is REFUSED:
                self.history.pop(asked, None)
            elif not over[0]:
                self.answers += 1
                self.history[asked] = operation._replace(result=result, returned_at=world.now)
            go_on()

        world.at(world.now + PATIENCE_S, go_on)
        world.on(node, lambda: self._ask(node, operation, answered), is_first=world.chance.random() < 0.5)

    def _operation(self, client: str) -> Operation:
        chance, now = self._world.chance, self._world.now
        key = f"{int(now / KEYS_CHANGE_S)}.{chance.randrange(3)}"
        number = str(chance.randrange(4))
        arguments: tuple[str, ...] = ()
        match chance.randrange(8):
            case 0 | 1 | 2:
                name = "get"
            case 3:
                name = "increment"
            case 4:
                name, arguments = "compare-and-set", (number, str(chance.randrange(4)))
            case 5:
                name, arguments = "set-if-absent", (number,)
            case 6:
                name, arguments = "set", (number,)
            case _:
                name = "delete"
        return Operation(client, name, (key,), arguments, called_at=now, returned_at=FOREVER)

    def _ask(self, node: Node, operation: Operation, answered: Answered) -> None:
        world, machine = self._world, node.machine
        if machine is None:
            answered(REFUSED)
        elif machine.serves(world.now):
            self._execute(node, operation, answered)
        else:
            pair = (min(node.name, machine.leader), max(node.name, machine.leader))
            connection = world.links.get(pair)
            if connection is None:
                answered(REFUSED)
                return
            leader = world.nodes[machine.leader]

            def send_back(result: Any) -> None:
                world.at(world.now + self._delay_s(pair), lambda: self._if_linked(connection, lambda: answered(result)))

            def arrive() -> None:
                if leader.machine is not None and leader.machine.serves(world.now):
                    self._execute(leader, operation, send_back)
                else:
                    send_back(REFUSED)

            ahead_s = self._delay_s(pair)
            world.at(world.now + ahead_s, lambda: self._if_linked(connection, lambda: world.on(leader, arrive)))

    def _delay_s(self, pair: tuple[str, str]) -> float:
        return sum(self._world.delay_s[name] for name in pair)

    def _if_linked(self, connection: int, deed: Callable[[], None]) -> None:
        if connection in self._world.links.values():
            deed()

    def _execute(self, node: Node, operation: Operation, answered: Answered) -> None:
        world = self._world
        assert node.machine is not None
        store = node.machine.store
        result = execute(store, world.now_ms(node), operation)
        world.count += 1
        ticket = world.count

        def told(outcome: Outcome) -> None:
            if outcome is Outcome.SAFE:
                answered(result)

        node.tickets[ticket] = told
        effects = store.take_effects()
        key = (0, operation.keys[0].encode())
        world.step(node, Wrote(effects, ticket) if effects else Looked([key], ticket))


def execute(store: Store, now_ms: int, operation: Operation) -> Any:
    key = operation.keys[0].encode()
    found = store.find(now_ms, 0, key)
    assert found is None or isinstance(found, bytes)
    text = None if found is None else found.decode()
    match operation.name:
        case "get":
            return text
        case "delete":
            return int(store.remove(now_ms, 0, key))
        case "increment":
            number = int(text or "0") + 1
            store.put(now_ms, 0, key, str(number).encode())
            return number
        case "set-if-absent":
            if found is not None:
                return None
            store.put(now_ms, 0, key, operation.arguments[0].encode())
            return "OK"
        case "compare-and-set":
            if text != operation.arguments[0]:
                return False
            store.put(now_ms, 0, key, operation.arguments[1].encode())
            return True
    store.put(now_ms, 0, key, operation.arguments[0].encode())
    return "OK"
