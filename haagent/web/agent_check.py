"""HAProxy's agent-check: a word to whoever connects, and the connection is closed.

`up ready`: this node may have new clients. `drain`: it is in standby, and only clients that are its own already may
come. `maint`: it is stopping, or not ready yet, and nobody may. `down`: its agent hangs. What a client sends is not
read, so there is nothing to parse, and there is nothing to wait for: a word fits every socket's buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from haagent.config import Config
from haagent.parts import Commit, Ending, Facts, Still
from haagent.web.agent import Agent, Verdict, ready, verdict
from haagent.web.sockets import tcp_listener

WORDS = {
    Verdict.WELL: "up ready",
    Verdict.STANDBY: "drain",
    Verdict.UNREADY: "maint",
    Verdict.STOPPING: "maint",
    Verdict.HANGS: "down",
}


class AgentCheck(Still):
    name = "agent-check"

    def __init__(
        self,
        config: Config,
        agent: Agent,
        *,
        is_stepped: Callable[[float], bool],
        why_unready: Callable[[], str] = ready,
    ) -> None:
        self._listen = _wanted(config)
        self._agent, self._is_stepped, self._why_unready = agent, is_stepped, why_unready
        self._server: asyncio.Server | None = None
        self._counters = {"agent_checks_answered": 0}

    async def open(self) -> None:
        if self._listen:
            self._server = await self._prepared(self._listen)
            await self._server.start_serving()

    async def prepare(self, config: Config) -> Commit:
        listen = _wanted(config)
        if listen == self._listen:
            return Commit()
        fresh = await self._prepared(listen) if listen else None

        async def abandon() -> None:
            if fresh is not None:
                fresh.close()

        return Commit(lambda: self._become(listen, fresh), abandon)

    def status(self) -> Facts:
        return {"agent_check": {"listen": self._listen, "answer": self.answer()} if self._listen else None}

    def counters(self) -> Mapping[str, int]:
        return self._counters

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def answer(self) -> str:
        said, _ = verdict(self._agent, is_stepped=self._is_stepped, why_unready=self._why_unready)
        return WORDS[said]

    def _become(self, listen: str, fresh: asyncio.Server | None) -> Ending:
        old, self._server, self._listen = self._server, fresh, listen
        return _change(old, fresh)

    async def _prepared(self, listen: str) -> asyncio.Server:
        """Whoever connects waits until it serves."""
        sock = tcp_listener(listen, key="http.agent_check")
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Client(self._say), sock=sock, start_serving=False)

    def _say(self) -> bytes:
        self._counters["agent_checks_answered"] += 1
        return self.answer().encode() + b"\n"


class _Client(asyncio.Protocol):
    def __init__(self, say: Callable[[], bytes]) -> None:
        self._say = say

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._say())
        transport.close()


async def _change(old: asyncio.Server | None, fresh: asyncio.Server | None) -> None:
    if fresh is not None:
        await fresh.start_serving()
    if old is not None:
        old.close()


def _wanted(config: Config) -> str:
    return config.http.agent_check if config.http is not None else ""
