"""The part of an agent that keeps the store's process, with a file of its own, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from haagent.config import parse
from haagent.core.event_kinds import Kind
from haagent.sessions.part import Sessions

PATIENCE_S = 60.0
FILE = """\
cluster: shop
nodes: {{A: {{address: 127.0.0.1}}{others}, W: {{address: 127.0.0.3, witness: true}}}}
heartbeat: {{interfaces: [eth0], insecure: true, port: {link}}}
groups: {{web: {{addresses: [10.20.1.100/24]}}}}
sessions: {{listen: "127.0.0.1:{port}"{more}}}
"""


B = ", B: {address: 127.0.0.2}"


def config(port: int, more: str = "", *, node: str = "A", others: str = "", link: int = 7265) -> Any:
    """Alone with a witness, which keeps no sessions, a node waits for nobody."""
    text = FILE.format(port=port, more=more, others=others, link=link)
    return parse(text.encode(), "haagent.yaml", node=node)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(wanted: Any, history: list[tuple[str, str]] | None = None) -> AsyncIterator[Sessions]:
    tasks: list[asyncio.Task[None]] = []

    def background(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    def note(kind: Kind, text: str) -> None:
        if history is not None:
            history.append((kind.value, text))

    part = Sessions(wanted, note=note, background=background)
    await part.open()
    try:
        yield part
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await part.close()


def serves(part: Sessions) -> bool:
    return bool(part.status()["sessions"]["serving"])


def pid_of(part: Sessions) -> int:
    return int(part.status()["pids"]["store"])


async def ask(port: int, *words: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(" ".join(words).encode() + b"\r\n")
    answer = await reader.readline()
    writer.close()
    return answer.strip()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
