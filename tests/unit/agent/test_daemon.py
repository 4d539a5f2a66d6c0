"""A reload beside the end of an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from haagent.agent import daemon
from haagent.agent.daemon import Daemon
from haagent.parts import CannotReload, Ending


def test_a_reload_that_is_ready_when_the_agent_has_ended_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may leave its addresses in place, for maintenance: nothing touches these any more."""
    applied: list[str] = []
    file = SimpleNamespace(path=Path("haagent.yaml"), me="A", digest="old")
    monkeypatch.setattr(daemon, "load", lambda path, *, node: SimpleNamespace(digest="new", settings=lambda: None))
    monkeypatch.setattr(daemon, "refuse_what_needs_a_restart", lambda *_: None)

    async def story() -> None:
        one = Daemon.__new__(Daemon)
        one._ended, one._reloading = asyncio.get_running_loop().create_future(), asyncio.Lock()
        notifier = SimpleNamespace(reloading=lambda: None, ready=lambda: None)
        one._agent = SimpleNamespace(notifier=notifier, cluster=SimpleNamespace(config=file))  # type: ignore[assignment]
        one._node = SimpleNamespace(state=SimpleNamespace(voters=()))  # type: ignore[assignment]

        async def prepare(_: object) -> Callable[[], list[Ending]]:
            one.end(0)  # meanwhile the core has said that it has stopped
            return lambda: applied.append("applied") or []  # type: ignore[func-returns-value]

        one._parts = SimpleNamespace(prepare=prepare)  # type: ignore[assignment]
        with pytest.raises(CannotReload, match="ended"):
            await one.reload()

    asyncio.run(story())
    assert not applied
