"""What is answered, and to whom: one question a connection, in a bounded time.

A client is a stranger: it may send anything, stop reading, or come a thousand times. So a connection carries one
question, ends after `PATIENCE_S` in any case, and there are at most `MAX_CLIENTS` of them. Nothing a client does delays
the agent: an answer is a view that is there anyway; metrics, which are more, are collected at most once a second and
written by a thread.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aiohttp import web

from haagent.web import metrics
from haagent.web.agent import ALIVE_S, verdict

if TYPE_CHECKING:
    from haagent.core.view import View
    from haagent.web.agent import Agent

MAX_CLIENTS = 64
MAX_LINE = 4096  # bytes of the first line, and of each header
PATIENCE_S = 5.0
FRESH_S = 1.0  # metrics are repeated for so long

GROUP = re.compile(r"/groups/([^/]+)/active")
PATHS = "There are /health, /metrics and /groups/NAME/active."


class Listener:
    def __init__(
        self,
        sock: socket.socket,
        agent: Agent,
        *,
        is_stepped: Callable[[float], bool],
        why_unready: Callable[[], str],
        token: bytes,
    ) -> None:
        """The socket listens; nobody is answered before `begin`."""
        self._why_unready = why_unready
        self.token = token
        self.counters = {"http_answered": 0, "http_refused": 0}
        self._sock, self._agent, self._is_stepped = sock, agent, is_stepped
        self._handler = web.Server(
            self._answer, access_log=None, max_line_size=MAX_LINE, max_field_size=MAX_LINE, lingering_time=0.0
        )
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self._scraping = asyncio.Lock()
        self._scraped, self._scraped_at = b"", float("-inf")

    async def begin(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Client(self), sock=self._sock)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._sock.close()
        for client in tuple(self._clients):
            client.end()
        await self._handler.shutdown(0.1)

    # ------------------------------------------------------------------ answers

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        answer = await self._answer_to(request)
        if answer.status in (200, 503):
            self.counters["http_answered"] += 1
        else:
            self.counters["http_refused"] += 1
        answer.headers["Cache-Control"] = "no-store"
        answer.force_close()
        return answer

    async def _answer_to(self, request: web.BaseRequest) -> web.Response:
        path = unquote(request.rel_url.raw_path)
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Only GET and HEAD: this moves nothing.", Allow="GET, HEAD")
        if path == "/health":
            return self._health()
        if not self._may(request):
            return _text(401, "Send the token of `http.token_file`.", **{"WWW-Authenticate": "Bearer"})
        if path == "/metrics":
            return web.Response(body=await self._metrics(), headers={"Content-Type": metrics.CONTENT_TYPE})
        if (found := GROUP.fullmatch(path)) is not None:
            return self._active(self._agent.view(), found[1])
        return _text(404, f"There is nothing here. {PATHS}")

    def _may(self, request: web.BaseRequest) -> bool:
        said = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return not self.token or hmac.compare_digest(said, b"Bearer " + self.token)

    def _health(self) -> web.Response:
        _, why = verdict(self._agent, is_stepped=self._is_stepped, why_unready=self._why_unready)
        return _text(503, why) if why else _text(200, f"{self._agent.view().node} is well.")

    def _active(self, view: View, name: str) -> web.Response:
        group = next((group for group in view.groups if group.name == name), None)
        if group is None:
            known = ", ".join(group.name for group in view.groups)
            return _text(404, f"This cluster has no group of that name. There are {known}.")
        if group.holder == view.node and group.active and self._is_stepped(ALIVE_S):
            return _text(200, f"{name} is active on {view.node}.")
        if group.holder:
            verb = "is active" if group.active else "is being activated"
            return _text(503, f"{name} {verb} on {group.holder}; this is {view.node}.")
        return _text(503, f"{name} is active nowhere: {group.why or 'nobody holds it'}.")

    async def _metrics(self) -> bytes:
        async with self._scraping:
            if time.monotonic() >= self._scraped_at + FRESH_S:
                facts, counters = self._agent.status(), self._agent.counters()
                self._scraped = await asyncio.to_thread(metrics.exposition, facts, counters)
                self._scraped_at = time.monotonic()
            return self._scraped


class _Client(asyncio.Protocol):
    """One connection: handed on to aiohttp, and ended in time."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._inner = listener._handler()
        self._transport: asyncio.BaseTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        clients = self._listener._clients
        clients.add(self)
        self._inner.connection_made(transport)
        if len(clients) > MAX_CLIENTS:
            self._listener.counters["http_refused"] += 1
            self.end()
        else:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self.end)

    def connection_lost(self, error: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._listener._clients.discard(self)
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def end(self) -> None:
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()


def _text(status: int, sentence: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=sentence + "\n", headers=headers)
