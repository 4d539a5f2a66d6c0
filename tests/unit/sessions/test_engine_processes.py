"""The roles that are decided for an engine, given to real ones: what they answer, and what is not lost."""

from __future__ import annotations

from typing import Any

from haagent.core.messages import Ballot
from haagent.core.store.engine import (
    Action,
    Copy,
    Engine,
    Fence,
    Follow,
    Holder,
    Holds,
    LetGo,
    Move,
    Pause,
    Promote,
    Propose,
    Said,
)
from haagent.core.store.engine import Started as Begun
from haagent.core.store.strong.record import Record
from tests.support.redis_stage import Server, Stage, stage, until

NOBODY = ("REPLICAOF", "127.0.0.1", "0")  # nobody can listen there


class Node:
    """An engine, and who decides for it. A replica tells its master by its name which life it is."""

    def __init__(self, made: Stage, name: str, life: int, others: dict[str, Node]) -> None:
        fence = [
            "--replicaof",
            "127.0.0.1",
            "0",
            "--replica-serve-stale-data",
            "no",
            "--repl-diskless-load",
            "disabled",
        ]
        self.server: Server = made.server(*fence, "--replica-announce-ip", f"{name}-{life}")
        self.engine = Engine(name, sync_timeout_s=1.0)
        self.others = others
        others[name] = self
        assert self.tell(0.0, Begun(life)) == []

    def tell(self, now: float, event: Any) -> list[Action]:
        actions = self.engine.handle(now, event)
        for action in actions:
            match action:
                case Fence():
                    self.server.ask(*NOBODY)
                    self.server.ask("CLIENT", "UNPAUSE")
                case Follow(name=name):
                    self.server.ask("REPLICAOF", "127.0.0.1", str(self.others[name].server.port))
                case Pause(seconds=seconds):
                    self.server.ask("CLIENT", "PAUSE", str(round(1000 * seconds)), "WRITE")
                case Promote():
                    self.server.ask("REPLICAOF", "NO", "ONE")
        return actions

    def look(self, now: float) -> list[Action]:
        self.server.ask("WAIT", "1", "100")  # so that replicas say now how far they are
        role: Any = self.server.ask("ROLE")
        copies = {}
        for announced, _, offset in role[2]:
            name, life = announced.decode().split("-")
            copies[name] = Copy(int(life), int(offset))
        return self.tell(now, Said(is_master=True, offset=role[1], copies=copies))


def test_the_replica_that_is_in_step_takes_over_and_the_new_life_has_its_data() -> None:
    ballot = Ballot(1, "a")
    with stage() as made:
        nodes: dict[str, Node] = {}
        a, b = Node(made, "a", 1, nodes), Node(made, "b", 2, nodes)
        assert "MASTERDOWN" in str(a.server.ask("GET", "k"))
        assert "READONLY" in str(a.server.ask("SET", "k", "1"))
        assert a.tell(0.0, Holds(Record(ballot, 1, {"a": 1}, ballot))) == [Promote()]
        assert a.server.ask("SET", "k", "1") == b"OK"
        b.tell(0.0, Holder("a"))
        proposed: list[Action] = []
        until(lambda: proposed.extend(a.look(0.1)) or proposed)
        both = {"a": 1, "b": 2}
        assert proposed == [Propose(2, both)]
        a.server.kill()

        second = Ballot(2, "b")
        assert b.tell(1.0, Holds(Record(second, 1, both, ballot))) == [Promote()]
        assert b.server.ask("GET", "k") == b"1"
        again = Node(made, "a", 3, nodes)
        held = again.tell(1.0, Holds(Record(second, 1, both, ballot)))
        assert [type(action) for action in held] == [LetGo], "an empty one leads nobody"
        assert "MASTERDOWN" in str(again.server.ask("GET", "k"))
        again.tell(1.1, Holder("b"))
        until(lambda: again.server.ask("GET", "k") == b"1")
        assert "READONLY" in str(again.server.ask("SET", "k", "2"))


def test_a_planned_move_hands_over_all_of_it() -> None:
    ballot = Ballot(1, "a")
    both = {"a": 1, "b": 2}
    with stage() as made:
        nodes: dict[str, Node] = {}
        a, b = Node(made, "a", 1, nodes), Node(made, "b", 2, nodes)
        a.tell(0.0, Holds(Record(ballot, 1, both, ballot)))
        b.tell(0.0, Holder("a"))
        until(lambda: a.server.ask("WAIT", "1", "1000"))
        assert [a.server.ask("INCR", "n") for _ in range(100)][-1] == 100
        assert [type(action) for action in a.tell(0.1, Move("b"))] == [Pause]
        moved: list[Action] = []
        until(lambda: moved.extend(a.look(0.2)) or moved)
        assert [type(action) for action in moved] == [Fence, LetGo]
        assert "READONLY" in str(a.server.ask("INCR", "n"))
        assert b.tell(0.3, Holds(Record(Ballot(2, "b"), 1, both, ballot))) == [Promote()]
        assert b.server.ask("INCR", "n") == 101
        a.tell(0.3, Holder("b"))
        until(lambda: a.server.ask("GET", "n") == b"101")
