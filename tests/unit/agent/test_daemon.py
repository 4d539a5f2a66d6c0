"""A reload beside the end of an agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from haagent.agent import daemon
from haagent.agent.daemon import Daemon
from haagent.core.events import StopRequested
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


def test_a_stop_serves_on_until_sessions_are_kept_and_is_asked_for_once() -> None:
    async def story() -> None:
        kept, posted, tasks = asyncio.get_running_loop().create_future(), list[object](), list[asyncio.Task[None]]()
        waits: list[str] = []

        async def kept_elsewhere() -> str:
            waits.append("")
            return str(await kept)

        one = Daemon.__new__(Daemon)
        one._is_asked_to_stop = one._is_stopping = False
        one._agent = SimpleNamespace(  # type: ignore[assignment]
            notifier=SimpleNamespace(stopping=lambda: None), sessions=SimpleNamespace(kept_elsewhere=kept_elsewhere)
        )
        one.post = posted.append  # type: ignore[method-assign]
        one.background = lambda work: tasks.append(asyncio.ensure_future(work))  # type: ignore[method-assign]
        one._stop_requested()
        one._stop_requested()  # systemd tells both processes
        await asyncio.sleep(0)
        assert (waits, posted) == ([""], [])
        kept.set_result("no other node has them")
        await tasks[0]
        one.guardian_died()
        assert posted == [StopRequested()]
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        again = Daemon.__new__(Daemon)
        again._is_asked_to_stop = again._is_stopping = False
        again._agent, again.post, again.background = one._agent, one.post, one.background  # type: ignore[method-assign]
        again.guardian_died()
        assert posted == [StopRequested()] * 2, "who has lost its guardian waits for nothing"
        tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(story())
