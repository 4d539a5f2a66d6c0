"""The listener's life: opened, changed and closed with the configuration.

A new port is bound when a reload is prepared, so that a port that is in use refuses the reload; who connects meanwhile
waits a moment, or is sent away if the reload comes to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from haagent.config import Config, HttpConfig
from haagent.config.keys import load_password
from haagent.parts import Commit, Ending, Facts, Still
from haagent.web.agent import Agent, ready
from haagent.web.sockets import CannotServe, tcp_listener

if TYPE_CHECKING:
    from haagent.web.listener import Listener


class Web(Still):
    name = "http"

    def __init__(
        self,
        config: Config,
        agent: Agent,
        *,
        is_stepped: Callable[[float], bool],
        why_unready: Callable[[], str] = ready,
    ) -> None:
        self._wanted = config.http
        self._agent, self._is_stepped, self._why_unready = agent, is_stepped, why_unready
        self._listener: Listener | None = None
        self._counted: dict[str, int] = {}  # by listeners that have ended

    async def open(self) -> None:
        if self._wanted is not None:
            self._listener = await self._prepared(self._wanted)
            await self._listener.begin()

    async def prepare(self, config: Config) -> Commit:
        wanted, running = config.http, self._listener
        if wanted is None:
            return Commit(lambda: self._become(None, None))
        if running is not None and self._wanted is not None and wanted.listen == self._wanted.listen:
            token = await self._token(wanted)

            def keep() -> None:
                self._wanted, running.token = wanted, token

            return Commit(keep)
        fresh = await self._prepared(wanted)
        return Commit(lambda: self._become(wanted, fresh), fresh.close)

    def status(self) -> Facts:
        return {"http": None if self._listener is None or self._wanted is None else {"listen": self._wanted.listen}}

    def counters(self) -> Mapping[str, int]:
        now = self._listener.counters if self._listener is not None else {}
        return {name: self._counted.get(name, 0) + count for name, count in now.items()} or self._counted

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    def _become(self, wanted: HttpConfig | None, fresh: Listener | None) -> Ending:
        old = self._listener
        if old is not None:
            self._counted = dict(self.counters())
        self._wanted, self._listener = wanted, fresh
        return self._change(old, fresh)

    async def _change(self, old: Listener | None, fresh: Listener | None) -> None:
        if fresh is not None:
            await fresh.begin()
        if old is not None:
            await old.close()

    async def _prepared(self, wanted: HttpConfig) -> Listener:
        try:
            from haagent.web.listener import Listener
        except ImportError as missing:
            hint = "install it with `pip install 'haagent[web]'`, or remove `http:`"
            raise CannotServe(f"`http:` needs {missing.name}, which is not here; {hint}") from missing
        token = await self._token(wanted)
        return Listener(
            tcp_listener(wanted.listen, key="http.listen"),
            self._agent,
            is_stepped=self._is_stepped,
            why_unready=self._why_unready,
            token=token,
        )

    @staticmethod
    async def _token(wanted: HttpConfig) -> bytes:
        if not wanted.token_file:
            return b""
        return (await asyncio.to_thread(load_password, wanted.token_file)).encode()
