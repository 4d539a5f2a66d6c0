"""The part that docs/guide/add-a-part.md adds: the page's own text is run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest

from haagent.config import parse, read
from haagent.parts import CannotReload, Parts
from haagent.status.report import Cluster
from tests.support.guide import block
from tests.support.small_agent import FILE, SmallAgent

IMPORTS = """
import asyncio, os
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from haagent.config import Config, Option, Section
from haagent.config.kinds import duration, whole
from haagent.parts import Commit, Facts, Still
"""


@pytest.fixture
def guide(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("guide_of_parts")
    monkeypatch.setitem(sys.modules, "guide_of_parts", module)
    extended = "class Extended(Config, frozen=True, kw_only=True):\n" + block("add-a-part.md", "line of the section")
    for text in (IMPORTS, block("add-a-part.md", "section"), extended, block("add-a-part.md", "part")):
        exec(text, module.__dict__)
    monkeypatch.setattr(read, "Config", module.Extended)
    return module


def config(text: str) -> Any:
    return parse((FILE + text).encode(), "haagent.yaml", node="A")


def play(guide: ModuleType, story: Callable[[Parts], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        started: list[asyncio.Task[None]] = []

        def aside(work: Coroutine[Any, Any, None]) -> None:
            started.append(asyncio.get_running_loop().create_task(work))

        first = config("load: {most: 1, interval: 10ms}\n")
        (part,) = eval(block("add-a-part.md", "line"), guide.__dict__ | {"config": first, "aside": aside})
        parts = Parts(Cluster(first, SmallAgent().view), part)
        await parts.open()
        try:
            await story(parts)
        finally:
            for task in started:
                task.cancel()
            await parts.close()

    asyncio.run(whole())


async def looked(parts: Parts, times: int) -> None:
    async with asyncio.timeout(20):
        while parts.counters()["load_looks"] < times:
            await asyncio.sleep(0.005)


def test_it_is_in_status_and_counters_and_follows_a_reload(guide: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (7.5, 0.0, 0.0))

    async def story(parts: Parts) -> None:
        await looked(parts, 2)
        facts = parts.status()
        assert facts["load"] == 7.5
        assert any(warning.startswith("The load of this host is 7.5.") for warning in facts["warnings"])
        (await parts.prepare(config("load: {most: 9, interval: 10ms}\n")))()
        facts = parts.status()
        assert facts["load"] == 7.5
        assert not any("The load" in warning for warning in facts["warnings"])
        (await parts.prepare(config("")))()
        assert parts.status()["load"] is None

    play(guide, story)


def test_it_refuses_a_reload_in_words(guide: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(parts: Parts) -> None:
        monkeypatch.setattr("os.path.exists", lambda _path: False)
        with pytest.raises(CannotReload, match="load: /proc/loadavg is not there"):
            await parts.prepare(config(""))

    play(guide, story)
