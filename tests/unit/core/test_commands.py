"""Operators' commands through the door: what is refused and why, what is done, and what every node is told."""

from __future__ import annotations

import msgspec

from haagent.core.commands import describe
from haagent.core.events import Answer, Asked, Reconfigured
from haagent.core.messages import Order
from tests.sim.world import World, make_settings, steady_world


def cluster(nodes: str = "ABW", *, consistent: bool = True, groups: dict[str, tuple[str, ...]] | None = None) -> World:
    world = steady_world(make_settings(nodes=nodes, witnesses="W", consistent=consistent, groups=groups))
    for name in nodes:
        world.start(name)
    world.run(1.0)
    return world


def ask(world: World, name: str, what: str, **arguments: object) -> tuple[int, str]:
    node = world.hosts[name].node
    assert node is not None
    actions = node.step(world.t, Asked(17, what, **arguments))  # type: ignore[arg-type]
    answers = [action for action in actions if isinstance(action, Answer)]
    assert [answer.id for answer in answers] == [17]
    for action in actions:
        world._perform(world.hosts[name], action)
    world.run(world.t + 0.05)
    return answers[0].status, answers[0].text


def test_what_does_not_exist_is_named_with_what_does() -> None:
    world = cluster()
    assert ask(world, "A", "move", group="mail", node="B") == (4, "there is no group `mail`; groups: leader, web")
    assert ask(world, "A", "move", group="web", node="Z") == (4, "there is no node `Z`; nodes: A, B, W")
    assert ask(world, "A", "dance") == (4, "there is no command `dance`")


def test_a_move_without_a_group_or_a_node_is_refused() -> None:
    world = cluster()
    assert ask(world, "A", "move", node="B")[0] == 4
    assert ask(world, "A", "move", group="web")[0] == 4
    assert ask(world, "A", "standby")[0] == 4


def test_a_move_to_a_node_that_cannot_have_it_is_refused() -> None:
    world = cluster()
    assert ask(world, "A", "move", group="web", node="W") == (4, "W is a witness; it cannot take web")
    world.crash("B")
    world.run(2.0)
    assert ask(world, "A", "move", group="web", node="B") == (4, "B is offline; it cannot take web")
    assert ask(world, "A", "standby", node="A") == (0, "A is in standby")
    assert ask(world, "A", "move", group="web", node="A") == (4, "A is in standby; it cannot take web")


def test_a_move_of_what_nobody_holds_is_refused() -> None:
    world = cluster()
    for name in "AB":
        world.set_health(name, "web", ok=False)
    world.run(2.0)
    status, text = ask(world, "A", "move", group="web", node="B")
    assert (status, text.split(",")[0]) == (4, "nobody holds web now")


def test_a_move_to_where_it_is_is_done() -> None:
    assert ask(cluster(), "B", "move", group="web", node="A") == (0, "web is already on A")


def test_a_move_to_an_unfit_node_needs_force() -> None:
    world = cluster()
    world.set_health("B", "web", ok=False)
    world.run(1.1)
    refusal = "B is not fit to hold web: its check fails; `--force` moves it all the same"
    for name in "ABW":  # the holder, the target itself, and a bystander say the same
        assert ask(world, name, "move", group="web", node="B") == (4, refusal)
    assert ask(world, "W", "move", group="web", node="B", force=True) == (0, "asked A to hand web over to B")
    assert world.serving("web") == ["B"]


def test_a_forced_move_lasts_as_long_as_the_tenure() -> None:
    """The operator insisted. It is not undone because the order itself has gone stale."""
    world = cluster()
    world.set_health("B", "web", ok=False)
    world.run(1.1)
    ask(world, "A", "move", group="web", node="B", force=True, wait_s=1.0)
    world.run(5.0)
    assert world.serving("web") == ["B"]


def test_a_move_from_a_holder_that_is_silent_is_refused() -> None:
    world = cluster()
    world.crash("A")
    world.run_to(lambda: "offline A" in world.transcript[-1] and " B " in world.transcript[-1], within_s=1.0)
    status, text = ask(world, "B", "move", group="web", node="B")
    assert (status, text) == (4, "web is just changing hands; try again in a moment")


def test_a_target_that_does_not_know_the_group_is_refused() -> None:
    world = cluster()
    newer = make_settings(nodes="ABW", witnesses="W", groups={"web": (), "mail": ("A",)})
    for name in "AW":  # B has not read the new file yet
        world._feed(world.hosts[name], Reconfigured(msgspec.structs.replace(newer, me=name)))
    world.run(2.0)
    status, text = ask(world, "A", "move", group="mail", node="B")
    assert status == 4
    assert "B does not know the group; is its configuration the same?" in text


def test_standby_is_done_once_and_never_to_a_witness() -> None:
    world = cluster()
    assert ask(world, "A", "standby", node="W") == (4, "W is a witness: it never holds anything")
    assert ask(world, "A", "standby", node="B") == (0, "B is in standby")
    assert ask(world, "W", "standby", node="B") == (0, "B is already in standby")
    assert ask(world, "B", "standby", node="B", on=False) == (0, "B is back from standby")
    assert ask(world, "A", "standby", node="B", on=False) == (0, "B is already back from standby")


def test_maintenance_is_done_once_and_moves_nothing() -> None:
    world = cluster()
    assert ask(world, "A", "maintenance") == (0, "maintenance is on: nothing moves until it is off")
    assert ask(world, "B", "maintenance") == (0, "maintenance is already on")
    status, text = ask(world, "B", "move", group="web", node="B")
    assert (status, text) == (4, "maintenance is on; end it with `haagent maintenance off` first")
    assert ask(world, "B", "maintenance", on=False) == (0, "maintenance is off")
    assert ask(world, "B", "maintenance", on=False) == (0, "maintenance is already off")


def test_maintenance_does_not_end_while_a_holder_is_away() -> None:
    world = cluster()
    ask(world, "A", "maintenance")
    world.crash("A")
    world.run(3.0)
    status, text = ask(world, "B", "maintenance", on=False)
    assert status == 4
    assert text.startswith("A held something when it was last heard and is offline")
    assert ask(world, "B", "maintenance", on=False, force=True)[0] == 0


def test_failures_are_forgotten_of_one_group_or_of_all() -> None:
    world = cluster()
    assert ask(world, "A", "clear", group="web") == (0, "failures of web are forgotten")
    assert ask(world, "A", "clear") == (0, "failures of leader, web are forgotten")


def test_an_order_is_described_as_people_speak() -> None:
    described = {
        describe(Order("standby/B", 1, "A")): "A put B in standby",
        describe(Order("standby/B", 1, "A", on=False)): "A put B back from standby",
        describe(Order("move/web", 1, "A", target="B")): "A asks to move web to B",
        describe(Order("move/web", 1, "A", on=False)): "the move of web is off",
        describe(Order("clear/web", 1, "A")): "A cleared the failures of web",
        describe(Order("maintenance", 1, "A")): "A switched maintenance on",
        describe(Order("maintenance", 1, "A", on=False)): "A switched maintenance off",
    }
    assert list(described) == list(described.values())
