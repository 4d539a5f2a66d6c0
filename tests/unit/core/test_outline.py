"""Two nodes whose files differ find out in which keys, in a few heartbeats of bounded size, and learn no secret."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from haagent.config.outline import outline_of
from haagent.core.limits import MAX_OUTLINE
from haagent.core.messages import Outline, is_well_formed
from haagent.core.outline import MAX_BYTES, differences
from haagent.core.settings import Settings
from haagent.core.view import MemberView
from tests.sim.world import World
from tests.support.node_stage import beat_of_b, node_of, sent, settled

FILE: dict[str, Any] = {
    "cluster": "sim",
    "nodes": {
        "A": {"address": "10.0.0.1"},
        "B": {"address": "10.0.0.2", "fencing": {"agent": "fence_x", "options": {"ip": "10.9.0.2", "password": "old"}}},
    },
    "on_partition": "consistent",
    "groups": {
        "web": {
            "addresses": ["10.0.0.100/24"],
            "backend": {"kind": "route", "token": "old"},
            "checks": {"app": {"kind": "link", "interval": "1s", "url": "http://me:old@x"}},
        },
        "db": {"addresses": ["10.0.0.101/24"]},
    },
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The file, with this at `path`; None: without it."""
    tree = copy.deepcopy(FILE)
    *above, last = path.split(".")
    below = tree
    for key in above:
        below = below[key]
    if value is None:
        del below[last]
    else:
        below[last] = value
    return tree


def with_file(world: World, tree: dict[str, Any], config_hash: str) -> Settings:
    return msgspec.structs.replace(world.settings, outline=outline_of(tree), config_hash=config_hash)


def running(tree: dict[str, Any]) -> World:
    """A has `FILE`, and B has this one."""
    world = settled()
    world.edit("A", with_file(world, FILE, "one"))
    world.edit("W", with_file(world, FILE, "one"))
    world.edit("B", with_file(world, tree, "another"))
    world.run(world.t + 1.0)
    return world


def told(world: World, on: str, of: str) -> MemberView:
    return next(member for member in node_of(world, on).view(world.t).members if member.name == of)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("groups.web.addresses", ["10.0.0.102/24"], ["groups.web.addresses"]),
        ("groups.web.checks.app.interval", "2s", ["groups.web.checks.app.interval"]),
        ("groups.db", None, ["groups.db"]),
        ("nodes.C", {"address": "10.0.0.3"}, ["nodes.C"]),
        ("groups.web.backend", "arp", ["groups.web.backend"]),
        ("on_partition", "available", ["on_partition"]),
        ("gate", "off", ["gate"]),
    ],
)
def test_both_name_the_keys_that_differ(path: str, value: object, expected: list[str]) -> None:
    world = running(changed(path, value))
    assert list(told(world, "A", "B").config_differs) == expected
    assert list(told(world, "B", "A").config_differs) == expected
    assert told(world, "A", "W").config_differs == ()
    world.edit("B", with_file(world, FILE, "one"))
    world.run(world.t + 1.0)
    assert told(world, "A", "B").config_matches
    assert told(world, "A", "B").config_differs == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("nodes.B.fencing.options.password", "new"),
        ("groups.web.backend.token", "new"),
        ("groups.web.checks.app.url", "http://me:new@x"),
    ],
)
def test_of_what_may_be_secret_nothing_is_told(path: str, value: str) -> None:
    assert outline_of(changed(path, value)) == outline_of(FILE)
    assert not told(running(changed(path, value)), "A", "B").config_matches


def outline_said(world: World, name: str) -> Outline | None:
    node = node_of(world, name)
    return sent(node.step(node.deadline))[0].outline


def test_nothing_is_said_while_all_files_are_the_same() -> None:
    world = running(FILE)
    world.edit("B", with_file(world, FILE, "one"))
    world.run(world.t + 1.0)
    assert outline_said(world, "A") is None


def test_an_older_release_is_told_no_more_than_the_whole() -> None:
    world = settled()
    world.edit("A", with_file(world, FILE, "one"))
    node_of(world, "A").step(world.t, beat_of_b(config_hash="another")(world))
    assert outline_said(world, "A") == Outline(outline_of(FILE).digest)
    assert told(world, "A", "B").config_differs == ()


def count(outline: Outline) -> int:
    return 1 + sum(count(part) for part in outline.parts.values())


def test_where_too_much_differs_the_section_is_named_and_what_is_said_stays_small() -> None:
    groups = {f"group{number}": {"addresses": [f"10.0.1.{number}/24"], "prefer": ["A"]} for number in range(128)}
    others = {f"group{number}": {"addresses": [f"10.0.2.{number}/24"], "prefer": ["A"]} for number in range(128)}
    world = running(FILE | {"groups": groups})
    world.edit("A", with_file(world, FILE | {"groups": others, "gate": "off"}, "one"))
    world.run(world.t + 1.0)
    said = outline_said(world, "A")
    assert said is not None
    assert count(said) > 2
    assert len(msgspec.msgpack.encode(said)) <= MAX_BYTES + 10
    assert set(told(world, "A", "B").config_differs) == {"groups", "gate"}
    few = {name: groups[name] for name in list(groups)[:10]}
    world.edit("B", with_file(world, FILE | {"groups": few, "gate": "off"}, "another"))
    world.edit("A", with_file(world, FILE | {"groups": {name: others[name] for name in few}}, "one"))
    world.run(world.t + 1.0)
    assert len(msgspec.msgpack.encode(outline_said(world, "A"))) <= MAX_BYTES + 10
    keys = told(world, "A", "B").config_differs
    assert len(keys) == len(few) + 1
    assert {"groups.group0.addresses", "groups.group9", "gate"} <= {*keys}


def test_mappings_that_are_deeper_or_have_odd_keys_are_one_key() -> None:
    deep: dict[str, Any] = {"kind": "x", "interval": {"a": {"b": 1}}}
    assert not outline_of(deep, "groups", "web", "checks", "app").parts["interval"].parts
    assert not outline_of({"a\x1b[31m": 1}).parts
    assert not outline_of({"x" * 65: 1}).parts


def nested(levels: int) -> Outline:
    return Outline(1, {"a": nested(levels - 1)} if levels > 1 else {})


@pytest.mark.parametrize(
    "outline",
    [
        Outline(-1),
        Outline(2**32),
        Outline(1, {"x" * 65: Outline(1)}),
        Outline(1, {"\x1b[31m": Outline(1)}),
        Outline(1, {str(number): Outline(1) for number in range(MAX_OUTLINE + 1)}),
        nested(7),
    ],
)
def test_what_makes_no_sense_is_not_well_formed(outline: Outline) -> None:
    world = settled()
    beat = sent(node_of(world, "A").step(node_of(world, "A").deadline))[0]
    assert is_well_formed(msgspec.structs.replace(beat, outline=nested(6)))
    assert not is_well_formed(msgspec.structs.replace(beat, outline=outline))


def test_what_has_not_been_opened_yet_differs_as_a_whole() -> None:
    mine = outline_of(FILE)
    assert list(differences(mine, Outline(0))) == []
    parts = mine.parts | {"groups": Outline(7)}
    assert list(differences(mine, Outline(0, parts))) == ["groups"]
