"""Worlds whose agents keep a trace of themselves."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from haagent.core.events import AnyAction, AnyEvent
from haagent.core.node import Node
from haagent.trace import Ring, Trace, encode, read, take
from haagent.trace import entry as entries
from tests.sim.world import World, make_settings, steady_world


class Recorded:
    """To a `World` it is a node. All that were made within `recording` are in `made`."""

    made: list[Recorded] = []  # noqa: RUF012 - replaced by `recording`
    limit_bytes = 0
    step_limit: int | None = None  # so many steps of each life are recorded

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.node = Node(*arguments, **options)
        self.ring = Ring(self.node, limit_bytes=self.limit_bytes)
        self.steps: list[tuple[float, Sequence[AnyEvent], list[AnyAction]]] = []
        self.made.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def step(self, now: float, *events: AnyEvent) -> list[AnyAction]:
        actions = self.node.step(now, *events)
        is_recorded = self.step_limit is None or len(self.steps) < self.step_limit
        if is_recorded and not self.node.is_unmoved:
            self.ring.keep([(now, self.node.heeded, actions)])
            self.steps.append((now, self.node.heeded, actions))
        return actions

    def trace(self) -> Trace:
        """As it would be read from a file."""
        return read(encode(take(self.ring, saved_at=1.0)))


@contextmanager
def recording(*, limit_bytes: int = 1024 * 1024, step_limit: int | None = None) -> Iterator[list[Recorded]]:
    Recorded.made, Recorded.limit_bytes, Recorded.step_limit = [], limit_bytes, step_limit
    try:
        yield Recorded.made
    finally:
        Recorded.made, Recorded.step_limit = [], None


def recorded_world(until: float = 4.0, *, limit_bytes: int = 1024 * 1024, nodes: str = "ABW") -> World:
    """A takes web, and hands it over to B at 2 s."""
    with recording(limit_bytes=limit_bytes):
        options: dict[str, Any] = {"nodes": nodes, "witnesses": "W" if "W" in nodes else ""}
        world = steady_world(make_settings(**options), node_class=Recorded)  # type: ignore[arg-type]
        for name in nodes:
            world.start(name)
        world.run(2.0)
        world.ask("W" if "W" in nodes else "A", "move", group="web", node="B")
        world.run(until)
    return world


def agent(world: World, name: str = "A") -> Recorded:
    node: Any = world.hosts[name].node
    assert isinstance(node, Recorded)
    return node


def rewritten(trace: Trace, change: Callable[[int, entries.Entry], entries.Entry]) -> Trace:
    """The same with each step changed."""
    packer = zlib.compressobj()
    steps = b""
    for number, step in enumerate(trace.entries()):
        data = entries.encode(change(number, step))
        steps += packer.compress(len(data).to_bytes(4, "big") + data)
    return msgspec.structs.replace(trace, steps=(steps + packer.flush(),))
