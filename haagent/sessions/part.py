"""The session store as a part of the agent: there is one process of it for as long as the agent lives.

When it ends, whatever the cause, it is started again after a pause that grows; that moves no group. What it cannot do
(its port is taken) is told by `status`, and tried again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from haagent.config import Config
from haagent.config.keys import load_password
from haagent.core.store.settings import SESSION_KEYS, StoreSettings
from haagent.parts import CannotReload, Commit, Still
from haagent.parts import Facts as Told
from haagent.sessions.messages import Facts, Refused, Serving, Settings
from haagent.sessions.process import StoreProcess

FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
LASTED_S = 10.0  # who has lived for so long is started again at once


def settings_of(config: Config) -> Settings | None:
    """None: this node keeps no sessions. Raises `KeyFileError`."""
    sessions = config.sessions
    if sessions is None or config.nodes[config.me].witness:
        return None
    host, _, port = sessions.listen.rpartition(":")
    prefixes = tuple(key.encode() for key in sessions.session_keys)
    return Settings(
        host=host.strip("[]"),
        port=int(port),
        path=sessions.socket,
        password=load_password(sessions.password_file) if sessions.password_file else "",
        node_number=1 + sorted(config.nodes).index(config.me),
        store=StoreSettings(
            horizon_ms=round(sessions.horizon_s * 1000),
            logout_guard_ms=round(sessions.logout_guard_s * 1000),
            max_memory=sessions.max_memory,
            eviction=sessions.eviction,
            max_value_bytes=sessions.max_value,
            session_keys=prefixes or SESSION_KEYS,
        ),
    )


class Sessions(Still):
    name = "sessions"

    def __init__(self, config: Config, *, background: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._config, self._background = config, background
        self._settings: Settings | None = None
        self._process: StoreProcess | None = None
        self._facts: Facts | None = None  # None: it does not serve
        self._why, self._refused = "it has not started yet", ""
        self._starts = 0
        self._counted: Counter[str] = Counter()  # by processes that have ended
        self._is_closed = False

    async def open(self) -> None:
        self._settings = await asyncio.to_thread(settings_of, self._config)
        if self._settings is not None:
            self._background(self._keep(self._settings))

    async def prepare(self, config: Config) -> Commit:
        """Its sessions are in its memory, so it is not started anew behind anybody's back."""
        if await asyncio.to_thread(settings_of, config) != self._settings:
            raise CannotReload("`sessions` cannot change while the agent runs; restart the agents one after the other")
        return Commit()

    async def close(self) -> None:
        self._is_closed = True
        if self._process is not None:
            await self._process.end()

    def status(self) -> Told:
        if self._settings is None:
            return {}
        pid = self._process.pid or None if self._process is not None else None
        facts = self._facts
        sessions: dict[str, Any] = {"serving": facts is not None, "listen": f"{self._listen}", "starts": self._starts}
        if facts is not None:
            sessions |= {"clients": facts.clients, "keys": facts.keys, "bytes": facts.bytes}
        warnings = [] if facts is not None else [f"The session store does not serve on {self._listen}: {self._why}."]
        return {"sessions": sessions, "pids": {"store": pid}, "warnings": warnings}

    def counters(self) -> Mapping[str, int]:
        now = self._counted + Counter(self._facts.counts if self._facts is not None else {})
        counters = {f"sessions_{name}": count for name, count in now.items()}
        counters["sessions_restarts"] = max(0, self._starts - 1)
        return counters

    @property
    def _listen(self) -> str:
        return self._config.sessions.listen if self._config.sessions is not None else ""

    async def _keep(self, settings: Settings) -> None:
        loop, failed = asyncio.get_running_loop(), 0
        while not self._is_closed:
            began = loop.time()
            self._starts += 1
            self._why, self._refused = "it is starting", ""
            self._process = process = StoreProcess(settings, tell=self._heard)
            try:
                ended = await process.ended()
                self._why = self._refused or ended
            except OSError as error:
                self._why = f"it cannot be started: {os.strerror(error.errno or 0)}"
            if self._facts is not None:
                self._counted += Counter(self._facts.counts)
            self._facts = None
            failed = 0 if loop.time() - began >= LASTED_S else failed + 1
            await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** min(failed, 10), LAST_PAUSE_S))

    def _heard(self, told: Serving | Refused) -> None:
        if isinstance(told, Serving):
            self._facts = told.facts
        else:
            self._refused = told.why
