"""The step that docs/guide/add-a-step.md adds: the page's own text is run, between the others and as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from haagent.activation.pipeline import GroupPipeline
from haagent.activation.share import Share
from haagent.activation.step import Step
from haagent.activation.steps import AddressStep
from haagent.core.events import AnyEvent, Dropped, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.kernel.facts import Vip
from tests.support.fakes import FakeHost, no_hooks, run_virtual
from tests.support.guide import block

ONE = Ballot(1, "A")


def of_the_guide(directory: Path) -> Step:
    names: dict[str, Any] = {"spec": SimpleNamespace(name="web")}
    exec(block("add-a-step.md", "step"), names)
    line = block("add-a-step.md", "line").replace("/run/haagent/active", str(directory))
    (step,) = eval(f"({line})", names)
    return step  # type: ignore[no-any-return]


def told(directory: Path, story: Callable[[GroupPipeline, FakeHost], None]) -> list[AnyEvent]:
    async def play(now: Callable[[], float]) -> list[AnyEvent]:
        said: list[AnyEvent] = []
        host = FakeHost("eth0")
        vip = Vip(address=ip_interface("10.20.1.100/24"), interface="eth0")
        steps = (AddressStep(Share({1: vip}), host, now), of_the_guide(directory))
        group = GroupPipeline("web", steps=steps, hooks=no_hooks(), post=said.append, note=lambda *_: None, now=now)
        group.take(ONE, now() + 60)
        story(group, host)
        await asyncio.sleep(1)
        await group.close()
        return said

    return run_virtual(play)


def test_the_mark_is_there_while_the_group_is(tmp_path: Path) -> None:
    mark = tmp_path / "web"

    def story(group: GroupPipeline, host: FakeHost) -> None:
        assert mark.read_text() == "1.A\n"
        assert "take_us" in group.timings["mark"]
        group.drop(ONE, "asked")
        assert not mark.exists()

    assert told(tmp_path, story) == [Taken(group="web", ballot=ONE), Dropped(group="web", ballot=ONE)]


def test_a_mark_that_cannot_be_made_fails_the_take_and_names_the_step(tmp_path: Path) -> None:
    def story(group: GroupPipeline, host: FakeHost) -> None:
        assert host.addresses() == []

    (failed,) = told(tmp_path / "none", story)
    assert isinstance(failed, TakeFailed)
    assert failed.error.startswith("mark: [Errno 2] No such file or directory")
