"""HAProxy's agent-check: a word to whoever connects, whatever it sends and however often it comes."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from haagent.config import Config, HttpConfig, parse
from haagent.core.view import MemberState, View
from haagent.parts import CannotOpen, CannotReload, Parts
from haagent.web import AgentCheck
from tests.support.ports import free_port
from tests.support.small_agent import FILE, SmallAgent, whole_view

RUNNING = parse(FILE.encode(), "f.yaml", node="A")


def config(port: int) -> Config:
    return msgspec.structs.replace(RUNNING, http=HttpConfig(agent_check=f"127.0.0.1:{port}" if port else ""))


def in_state(state: MemberState, *, stopping: bool = False) -> View:
    view = whole_view(stopping=stopping)
    members = tuple(msgspec.structs.replace(one, state=state) if one.me else one for one in view.members)
    return msgspec.structs.replace(view, members=members)


async def asked(port: int, *, says: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(says)
    answer = await reader.read()
    writer.close()
    return answer


def test_the_word_follows_the_node() -> None:
    agent, stepped, why = SmallAgent(), [True], [""]
    part = AgentCheck(config(0), agent, is_stepped=lambda _: stepped[0], why_unready=lambda: why[0])
    assert part.answer() == "up ready"
    why[0] = "It takes over what the others have."
    assert part.answer() == "maint"
    why[0] = ""
    agent.now = in_state(MemberState.STANDBY)
    assert part.answer() == "drain"
    agent.now = in_state(MemberState.ONLINE, stopping=True)
    assert part.answer() == "maint"
    stepped[0] = False
    assert part.answer() == "down"


def test_it_is_told_to_whoever_connects_and_follows_a_reload() -> None:
    first, second = free_port(), free_port()

    async def play() -> None:
        part = AgentCheck(config(first), SmallAgent(), is_stepped=lambda _: True)
        parts = Parts(part)
        await parts.open()
        assert await asked(first) == b"up ready\n"
        assert await asked(first, says=b"x" * 100_000) in (b"up ready\n", b"")  # a reset may overtake the word
        for port in (second, second, 0, first):
            await asyncio.gather(*(await parts.prepare(config(port)))())
            if port:
                assert await asked(port) == b"up ready\n"
        assert part.status() == {"agent_check": {"listen": f"127.0.0.1:{first}", "answer": "up ready"}}
        assert part.counters()["agent_checks_answered"] == 5
        with pytest.raises(ConnectionRefusedError):
            await asked(second)
        await parts.close()
        with pytest.raises(ConnectionRefusedError):
            await asked(first)

    asyncio.run(play())


def test_a_port_that_is_in_use_refuses_the_reload_and_the_start() -> None:
    async def play(taken: int) -> None:
        parts = Parts(AgentCheck(config(0), SmallAgent(), is_stepped=lambda _: True))
        await parts.open()
        with pytest.raises(CannotReload, match=r"write another address at `http\.agent_check`"):
            await parts.prepare(config(taken))
        with pytest.raises(CannotOpen, match="address already in use"):
            await Parts(AgentCheck(config(taken), SmallAgent(), is_stepped=lambda _: True)).open()
        await parts.close()

    with socket.create_server(("127.0.0.1", 0)) as other:
        asyncio.run(play(other.getsockname()[1]))
