"""The parts of the agent as one: opened, asked, reloaded and closed by loops that know none of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from haagent.config import Config, ConfigError, Fault, parse
from haagent.core.view import View
from haagent.parts import CannotOpen, CannotReload, Commit, Ending, Facts, Parts, Still
from haagent.status.report import Cluster
from tests.support.small_agent import FILE, SmallAgent

RUNNING = parse(FILE.encode(), "f.yaml", node="A")
OTHER = msgspec.structs.replace(RUNNING, digest="other")


class Own:
    """A part of somebody's own: five verbs, each of which is written down, and may be told to fail."""

    def __init__(self, name: str, log: list[str], **fails: Exception) -> None:
        self.name = name
        self._log, self._fails = log, fails

    async def open(self) -> None:
        await self._do("open")

    async def prepare(self, config: Config) -> Commit:
        await self._do("prepare")

        def apply() -> Ending:
            self._log.append(f"{self.name} applies {config.digest}")
            return self._do("ends")

        return Commit(apply, lambda: self._do("abandons"))

    def status(self) -> Facts:
        return {
            self.name: {"is": "well"},
            "groups": {"web": {self.name: 7}},
            "warnings": [f"{self.name} warns."],
        }

    def counters(self) -> dict[str, int]:
        return {f"{self.name}_seen": 3, "dropped_auth": 1, "never": 0}

    async def close(self) -> None:
        await self._do("close")

    async def _do(self, what: str) -> None:
        await asyncio.sleep(0)
        if what in self._fails:
            raise self._fails[what]
        self._log.append(f"{self.name} {what}")


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_part_of_ones_own_is_found_everywhere() -> None:
    log: list[str] = []
    agent = SmallAgent()
    view: Callable[[], View] = agent.view
    parts = Parts(Cluster(RUNNING, view), Own("one", log), Own("two", log))

    async def story() -> None:
        await parts.open()
        facts = parts.status()
        assert facts["one"] == {"is": "well"}
        assert [(each["name"], each["one"], each["two"], each["holder"]) for each in facts["groups"]] == [
            ("web", 7, 7, "A")
        ]
        assert facts["warnings"] == ["one warns.", "two warns."]
        assert facts["counters"] == {"dropped_auth": 2, "one_seen": 3, "two_seen": 3}
        assert parts.counters() == facts["counters"] | {"never": 0}
        commit = await parts.prepare(OTHER)
        assert log[-2:] == ["one prepare", "two prepare"]
        endings = commit()
        assert log[-2:] == ["one applies other", "two applies other"]
        assert parts.status()["digest"] == "other"
        await asyncio.gather(*endings)
        assert log[-2:] == ["one ends", "two ends"]
        await parts.close()
        assert log[-2:] == ["two close", "one close"]

    play(story)


def test_asking_twice_tells_the_same() -> None:
    """Joining writes into nothing that a part has given away."""

    class Keeps(Still):
        name = "keeps"
        facts: Facts = {"pids": {"agent": 1}, "warnings": ["kept."]}  # noqa: RUF012

        def status(self) -> Facts:
            return self.facts

    parts = Parts(Keeps(), Own("one", []), Own("two", []))
    assert parts.status() == parts.status()
    assert Keeps.facts == {"pids": {"agent": 1}, "warnings": ["kept."]}


def test_what_was_opened_before_one_could_not_be_is_closed_in_reverse() -> None:
    log: list[str] = []
    refused = PermissionError(1, "Operation not permitted")
    parts = Parts(Own("one", log), Own("two", log), Own("three", log, open=refused), Own("four", log))

    async def story() -> None:
        with pytest.raises(CannotOpen, match=r"three: .*Operation not permitted") as caught:
            await parts.open()
        assert caught.value.__cause__ is refused
        await parts.close()
        assert log == ["one open", "two open", "two close", "one close"]

    play(story)


@pytest.mark.parametrize("error", [OSError(98, "Address already in use"), KeyError("a bug")])
def test_a_part_that_refuses_a_reload_is_named_and_the_others_let_go_of_what_they_prepared(error: Exception) -> None:
    log: list[str] = []
    parts = Parts(Own("one", log), Own("two", log), Own("three", log, prepare=error), Own("four", log))

    async def story() -> None:
        await parts.open()
        log.clear()
        with pytest.raises(CannotReload, match=r"^three: "):
            await parts.prepare(OTHER)
        assert log == ["one prepare", "two prepare", "two abandons", "one abandons"]

    play(story)


def test_a_fault_of_the_file_speaks_for_itself() -> None:
    fault = ConfigError("f.yaml", [Fault(0, "coordination.etcd.user", "is not known there", "")])
    parts = Parts(Own("one", [], prepare=fault))

    async def story() -> None:
        await parts.open()
        with pytest.raises(ConfigError) as caught:
            await parts.prepare(OTHER)
        assert caught.value is fault

    play(story)


def test_a_reload_that_is_called_off_half_way_lets_go_too() -> None:
    log: list[str] = []

    class Waits(Own):
        async def prepare(self, config: Config) -> Commit:
            await asyncio.sleep(600)
            return Commit()

    parts = Parts(Own("one", log), Waits("two", log))

    async def story() -> None:
        await parts.open()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await parts.prepare(OTHER)
        assert log[-1] == "one abandons"

    play(story)


def test_a_part_that_breaks_while_it_closes_is_a_bug_and_the_others_are_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    parts = Parts(Own("one", log), Own("two", log, close=RuntimeError("still in use")), Own("three", log))

    async def story() -> None:
        await parts.open()
        log.clear()
        with caplog.at_level(logging.ERROR):
            await parts.close()
        assert log == ["three close", "one close"]
        assert "a bug: two could not be closed" in caplog.text
        assert "still in use" in caplog.text

    play(story)
