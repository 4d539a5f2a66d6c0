"""Whatever an endpoint answers, what comes out is an answer, or an `EtcdError` that names it and fits a line."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.coordination import messages, stored
from haagent.coordination.gateway import Credentials, EtcdError, Gateway
from haagent.coordination.messages import Malformed
from haagent.coordination.register import Write
from haagent.coordination.stored import Stored
from haagent.core.limits import MAX_TEXT
from tests.support.false_etcd import ANSWERS, answer, false_etcd

PREFIX = b"/haagent/shop/"
WITHIN_S = 0.5
Question = Callable[[Gateway], Awaitable[object]]


async def read(gateway: Gateway) -> object:
    return await gateway.read(PREFIX, within_s=WITHIN_S)


async def write(gateway: Gateway) -> object:
    return await gateway.write([(PREFIX + b"web", Write(0, Stored(1, "A", 7)))], within_s=WITHIN_S)


async def watch(gateway: Gateway) -> object:
    async with asyncio.timeout(WITHIN_S):
        return [result async for result in gateway.watch(PREFIX)]


QUESTIONS: dict[str, Question] = {each.__name__: each for each in (read, write, watch)}


async def said(ask: Question, answers: Iterator[bytes], *, logs_in: bool = False) -> tuple[str, str]:
    """The endpoint, and what `EtcdError` said of it; nothing when the answer was taken."""
    async with false_etcd(answers) as endpoint:
        credentials = Credentials("ha", "secret") if logs_in else None
        gateway = Gateway([endpoint], patience_s=0.1, credentials=credentials)
        try:
            await ask(gateway)
        except EtcdError as error:
            return endpoint, str(error)
        finally:
            await gateway.close()
    return endpoint, ""


def assert_refusal(endpoint: str, text: str) -> None:
    host = endpoint.removeprefix("http://")
    assert text.startswith(f"{host}: "), text
    assert len(text) <= len(host) + 2 + MAX_TEXT
    assert text.isprintable()


@pytest.mark.parametrize("logs_in", [False, True], ids=["at once", "logging in"])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("what", ANSWERS)
def test_each_known_attack_is_a_refusal(what: str, question: str, *, logs_in: bool) -> None:
    endpoint, text = asyncio.run(said(QUESTIONS[question], itertools.repeat(ANSWERS[what]), logs_in=logs_in))
    if text:
        assert_refusal(endpoint, text)
    else:
        assert (what, question, logs_in) == ("a value with depths", "read", False)  # the arbiter's to judge


def test_an_honest_endpoint_is_asked_instead() -> None:
    async def play() -> object:
        honest = answer(b'{"header":{"revision":"1"}}')
        async with (
            false_etcd(itertools.repeat(ANSWERS["lists in an unknown field"])) as first,
            false_etcd(itertools.repeat(honest)) as second,
        ):
            gateway = Gateway([first, second], patience_s=5.0)
            try:
                reply = await gateway.read(PREFIX, within_s=5.0)
            finally:
                await gateway.close()
            return reply.header.revision, gateway.endpoint == second, gateway.counters["etcd_refused"]

    assert asyncio.run(play()) == (1, True, 1)


def test_a_packed_answer_is_not_unpacked_and_none_is_asked_for() -> None:
    heads: list[bytes] = []

    async def play() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWERS["a bomb"])
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            gateway = Gateway([f"http://127.0.0.1:{port}"], patience_s=5.0)
            with pytest.raises(EtcdError):
                await gateway.read(PREFIX, within_s=5.0)
            await gateway.close()

    asyncio.run(play())
    assert b"gzip" not in heads[0]
    assert b"deflate" not in heads[0]


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX: y", "a\0b", "жетон", "a b", "", "a" * 5000])
def test_a_token_that_is_none_never_becomes_a_header(token: str) -> None:
    with pytest.raises(Malformed, match="token"):
        messages.read_token(json.dumps({"token": token}).encode())


def test_tokens_of_both_kinds_are_taken() -> None:
    simple, signed = "PSrTTLyDhJGPvsYg.21", "eyJhbGciOiJSUzI1NiJ9.eyJ1c2VyIjoiaGEifQ." + "aB-_" * 171
    for token in (simple, signed):
        assert messages.read_token(json.dumps({"token": token}).encode()) == token


READERS: tuple[Callable[[bytes], object], ...] = (
    messages.read_reply,
    messages.read_watch_line,
    messages.read_token,
    messages.refusal_text,
    stored.decode,
    lambda data: messages.read_outcomes(data, 1),
)


def refused_or_read(reader: Callable[[bytes], object], data: bytes) -> None:
    """Any other exception is the test's."""
    with contextlib.suppress(Malformed):
        assert reader(data) is not None


# Names that mean something, so that the depths of an answer are reached as well.
NAMES = st.sampled_from(
    [
        *("responses", "response_txn", "response_range", "kvs", "key", "value", "mod_revision", "header", "revision"),
        *("cluster_id", "raft_term", "result", "events", "kv", "type", "created", "canceled", "cancel_reason"),
        *("error", "message", "token", "succeeded", "round", "node", "boot", "beat", "lease_ms", "released"),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.integers().map(str)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES | st.text(), inner), max_leaves=30)


@given(data=st.binary() | JSON.map(lambda found: json.dumps(found).encode()))
@settings(max_examples=300)
def test_readers_answer_or_refuse(data: bytes) -> None:
    for each in READERS:
        refused_or_read(each, data)


@pytest.mark.parametrize("levels", [100, 500, 990, 5000, 100_000])
@pytest.mark.parametrize(
    "part", ['{{"x":{}}}', "{}", '{{"error":{}}}', '{{"error":{{"message":{}}}}}', '{{"token":{}}}']
)
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"x":', "}"), ('{"responses":[{"response_txn":', "}]}")])
def test_no_depth_is_too_much(levels: int, part: str, brackets: tuple[str, str]) -> None:
    begin, end = brackets
    data = part.format(begin * levels + "0" + end * levels).encode()
    for each in READERS:
        refused_or_read(each, data)


@given(
    data=st.binary(), body=st.binary() | JSON.map(lambda found: json.dumps(found).encode()), number=st.integers(0, 2)
)
@settings(max_examples=60)
def test_whatever_the_endpoint_says(data: bytes, body: bytes, number: int) -> None:
    ask = list(QUESTIONS.values())[number]
    for each in (
        data,
        b"HTTP/1.1 " + data,
        answer(body),
        answer(body, status="500 Oops", more=b"X: " + data + b"\r\n"),
    ):
        endpoint, text = asyncio.run(said(ask, itertools.repeat(each), logs_in=bool(len(body) % 2)))
        if text:
            assert_refusal(endpoint, text)


@given(fields=st.dictionaries(st.sampled_from(["round", "node", "boot", "beat", "lease_ms", "released"]), LEAVES))
def test_a_value_that_is_read_can_be_written(fields: dict[str, Any]) -> None:
    found = stored.decode(json.dumps({"round": 1, "node": "A", "boot": 7} | fields).encode())
    assert stored.decode(found.as_released().encode()) == found.as_released()
    assert found.node.isprintable()


def test_a_value_with_depths_binds_like_any_that_is_not_understood() -> None:
    data = b'{"round":1,"node":"A","boot":7,"x":' + b"[" * 2000 + b"]" * 2000 + b"}"
    assert stored.decode(data) == stored.UNREADABLE
