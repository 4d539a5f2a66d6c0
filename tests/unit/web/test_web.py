"""Health, who is active, and metrics over HTTP: asked by a real client, of an agent that says what a test wants."""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from haagent.config import Config, HttpConfig, KeyFileError, parse
from haagent.core.group.transitions import GroupState
from haagent.parts import CannotReload, Facts, Parts, Still
from haagent.status.report import Cluster
from haagent.web import Web, listener
from haagent.web.metrics import METRICS, exposition
from haagent.web.sockets import CannotServe, tcp_listener
from tests.support.ports import free_port
from tests.support.small_agent import FILE, ON_B, SmallAgent, group, whole_view

pytest.importorskip("aiohttp")
DOCUMENT = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()
RUNNING = parse(FILE.encode(), "f.yaml", node="A")


def config(http: HttpConfig | None) -> Config:
    return msgspec.structs.replace(RUNNING, http=http)


class Stage:
    """A part in a loop of its own thread; the test is the client."""

    def __init__(self, http: HttpConfig | None) -> None:
        self.agent = SmallAgent()
        self.is_stepped, self.why_unready = True, ""
        self.port = int(http.listen.rpartition(":")[2]) if http else 0
        self.web = Web(
            config(http), self.agent, is_stepped=lambda _: self.is_stepped, why_unready=lambda: self.why_unready
        )
        self.parts = Parts(self.web)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.unexpected: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.unexpected.append(context))

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def reload(self, http: HttpConfig | None) -> None:
        async def turn() -> None:
            endings = (await self.parts.prepare(config(http)))()
            await asyncio.gather(*endings)

        self.do(turn())

    def ask(self, path: str, method: str = "GET", port: int = 0, **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    yield from staged(HttpConfig(f"127.0.0.1:{free_port()}"))


def staged(http: HttpConfig | None) -> Iterator[Stage]:
    made = Stage(http)
    made.thread.start()
    made.do(made.parts.open())
    try:
        yield made
    finally:
        made.do(made.parts.close())
        made.loop.call_soon_threadsafe(made.loop.stop)
        made.thread.join(10)
        made.loop.close()
    assert made.unexpected == []


def test_health(stage: Stage) -> None:
    assert stage.ask("/health")[:2] == (200, "A is well.\n")
    stage.why_unready = "The session store takes over what the other nodes have, or waits for them."
    assert stage.ask("/health")[:2] == (503, f"A is not ready: {stage.why_unready}\n")
    stage.is_stepped, stage.why_unready = False, ""
    assert stage.ask("/health")[:2] == (503, "A does not decide: its agent hangs.\n")
    stage.is_stepped, stage.agent.now = True, whole_view(stopping=True)
    status, text, headers = stage.ask("/health")
    assert (status, headers["Cache-Control"], headers["Connection"]) == (503, "no-store", "close")
    assert "A is stopping" in text
    stage.is_stepped = False
    assert "its agent hangs" in stage.ask("/health")[1], "as the agent-check says: what it says of itself may be over"


def test_who_is_active(stage: Stage) -> None:
    assert stage.ask("/groups/web/active")[:2] == (200, "web is active on A.\n")
    stage.agent.regroup(ON_B | {"active": True})
    assert stage.ask("/groups/web/active")[:2] == (503, "web is active on B; this is A.\n")
    stage.agent.regroup(ON_B | {"active": False})
    assert stage.ask("/groups/web/active")[:2] == (503, "web is being activated on B; this is A.\n")
    stage.agent.now = whole_view(groups=(group("web", holder="", state=GroupState.IDLE, why="no quorum"),))
    assert stage.ask("/groups/web/active")[:2] == (503, "web is active nowhere: no quorum.\n")
    status, text, _ = stage.ask("/groups/wbe/active")
    assert (status, "There are web." in text) == (404, True)


def test_an_agent_that_hangs_serves_nobody(stage: Stage) -> None:
    stage.is_stepped = False
    assert stage.ask("/groups/web/active")[0] == 503


def test_it_moves_nothing(stage: Stage) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, _, headers = stage.ask("/groups/web/active", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert stage.ask("/groups/web/active", "HEAD")[:2] == (200, "")
    assert stage.ask("/")[0] == stage.ask("/groups/web")[0] == stage.ask("/groups/web/active/")[0] == 404
    assert stage.agent.asked == []


def test_metrics_are_parsed_and_are_those_of_the_document(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "FRESH_S", 0.0)
    stage.agent.counted |= {"events_lapsed": 2, "gate_slammed": 1}
    status, text, headers = stage.ask("/metrics")
    assert (status, headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    values = {(one.name, *one.labels.values()): one.value for family in families.values() for one in family.samples}
    assert values["haagent_info", "shop", "A", "0.1.0"] == 1
    assert values["haagent_group_active", "web"] == values["haagent_group_held", "web"] == 1
    assert values["haagent_group_lease_seconds", "web"] == pytest.approx(0.312)
    assert values["haagent_members_online",] == 3
    assert values["haagent_jitter_seconds",] == pytest.approx(0.00025)
    assert values["haagent_clock_slew_ratio",] == pytest.approx(-0.083)
    assert values["haagent_dropped_malformed_total",] == 3
    assert families["haagent_dropped_malformed"].type == "counter"
    assert values["haagent_events_total", "lapsed", "error"] == 2
    assert values["haagent_gate_slammed_total",] == 1
    stage.agent.regroup(ON_B | {"active": True})
    text = stage.ask("/metrics")[1]
    assert 'haagent_group_active{group="web"} 0.0' in text
    assert 'haagent_group_lease_seconds{group="web"} 0.0' in text


def test_a_part_of_ones_own_is_in_the_metrics() -> None:
    class Own(Still):
        name = "own"

        def status(self) -> Facts:
            return {"warnings": ["Own warns."]}

        def counters(self) -> dict[str, int]:
            return {"own_looks": 7}

    parts = Parts(Cluster(RUNNING, SmallAgent().view), Own())
    text = exposition(parts.status(), parts.counters()).decode()
    assert "haagent_own_looks_total 7.0" in text
    assert "haagent_warnings 1.0" in text


def test_the_session_store_and_its_peers_are_in_the_metrics() -> None:
    peer = {"name": "B", "linked": True, "in_sync": False, "queue": 3, "queue_bytes": 400, "lag_ms": 1500.0}
    times = {"ack_p50_ms": 0.5, "ack_p99_ms": 20.0, "last_full_sync": None}
    sessions: Facts = {"serving": True, "ready": True, "clients": 2, "keys": 7, "bytes": 900, "peers": [peer | times]}

    class Own(Still):
        name = "sessions"

        def status(self) -> Facts:
            return {"sessions": sessions}

    parts = Parts(Cluster(RUNNING, SmallAgent().view), Own())
    text = exposition(parts.status(), parts.counters()).decode()
    for line in (
        "haagent_sessions_ready 1.0",
        "haagent_sessions_keys 7.0",
        'haagent_sessions_peer_in_sync{node="B"} 0.0',
        'haagent_sessions_peer_queue_bytes{node="B"} 400.0',
        'haagent_sessions_peer_lag_seconds{node="B"} 1.5',
        'haagent_sessions_peer_ack_seconds{node="B",quantile="0.99"} 0.02',
    ):
        assert line in text.splitlines()
    assert "full_sync_age_seconds{" not in text, "there was none"
    sessions.clear()
    sessions["serving"] = False
    text = exposition(parts.status(), parts.counters()).decode()
    assert "haagent_sessions_ready 0.0" in text
    assert "haagent_sessions_keys 7" not in text


def test_the_document_has_every_metric() -> None:
    lines = [f"| `{name}{{{','.join(labels)}}}` | {text} |" for name, (text, labels) in METRICS.items()]
    assert [line for line in lines if line.replace("{}", "") not in DOCUMENT] == []


def test_scrapes_that_come_fast_get_the_same(stage: Stage) -> None:
    asked = 0
    tell = stage.agent.status

    def status() -> Any:
        nonlocal asked
        asked += 1
        return tell()

    stage.agent.status = status  # type: ignore[method-assign]
    for _ in range(20):
        assert stage.ask("/metrics")[0] == 200
    assert asked <= 3  # one a second


class TestToken:
    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        file = tmp_path / "token"
        file.write_text("open sesame\n")
        file.chmod(0o600)
        return file

    def test_everything_but_health_wants_it(self, secret: Path) -> None:
        for stage in staged(HttpConfig(f"127.0.0.1:{free_port()}", str(secret))):
            assert stage.ask("/health")[0] == 200
            for path in ("/metrics", "/groups/web/active", "/nothing"):
                assert stage.ask(path)[0] == 401
                assert stage.ask(path, Authorization="Bearer open sesam")[0] == 401
                assert stage.ask(path, Authorization="open sesame")[0] == 401
            assert stage.ask("/groups/web/active", Authorization="Bearer open sesame")[0] == 200
            assert stage.web.counters()["http_refused"] == 9

    def test_another_one_by_a_reload(self, secret: Path) -> None:
        http = HttpConfig(f"127.0.0.1:{free_port()}", str(secret))
        for stage in staged(http):
            secret.write_text("changed\n")
            stage.reload(http)
            assert stage.ask("/metrics", Authorization="Bearer open sesame")[0] == 401
            assert stage.ask("/metrics", Authorization="Bearer changed")[0] == 200

    def test_one_that_others_can_read_is_refused(self, secret: Path) -> None:
        http = HttpConfig(f"127.0.0.1:{free_port()}", str(secret))
        for stage in staged(http):
            secret.chmod(0o640)
            with pytest.raises(KeyFileError, match="chmod"):
                stage.reload(http)
            assert stage.ask("/metrics", Authorization="Bearer open sesame")[0] == 200


class TestReload:
    def test_another_port_and_none_and_one_again(self, stage: Stage) -> None:
        other = free_port()
        before = stage.ask("/health")[0], stage.web.counters()["http_answered"]
        stage.reload(HttpConfig(f"127.0.0.1:{other}"))
        assert stage.ask("/health", port=other)[0] == 200
        assert stage.web.counters()["http_answered"] > before[1], "what was counted stays"
        with pytest.raises(ConnectionRefusedError):
            stage.ask("/health")
        stage.reload(None)
        assert stage.web.status() == {"http": None}
        with pytest.raises(ConnectionRefusedError):
            stage.ask("/health", port=other)
        stage.reload(HttpConfig(f"127.0.0.1:{stage.port}"))
        assert stage.ask("/health")[0] == 200

    def test_a_port_in_use_refuses_it(self, stage: Stage) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(CannotReload, match=f"http: {listen}: address already in use; write another"):
                stage.reload(HttpConfig(listen))
        assert stage.ask("/health")[0] == 200

    def test_one_that_comes_to_nothing_leaves_no_port_open(self, stage: Stage) -> None:
        other = free_port()

        async def turn() -> None:
            commit = await stage.web.prepare(config(HttpConfig(f"127.0.0.1:{other}")))
            await commit.abandon()

        stage.do(turn())
        with pytest.raises(ConnectionRefusedError):
            stage.ask("/health", port=other)
        assert stage.ask("/health")[0] == 200

    def test_what_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for stage in staged(None):
            with monkeypatch.context() as patched:
                patched.setitem(sys.modules, "aiohttp", None)
                patched.delitem(sys.modules, "haagent.web.listener")
                with pytest.raises(CannotReload, match=r"needs aiohttp, which is not here; .*haagent\[web\]"):
                    stage.reload(HttpConfig(f"127.0.0.1:{free_port()}"))


class TestStrangers:
    def test_one_that_is_slow_is_ended_and_delays_nobody(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listener, "PATIENCE_S", 0.2)
        with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as slow:
            slow.sendall(b"GET /metrics HT")
            assert stage.ask("/health")[0] == 200
            assert slow.recv(100) == b""

    def test_one_that_says_too_much(self, stage: Stage) -> None:
        for text in (
            b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as much:
                much.sendall(text)
                assert b" 400 " in much.recv(100)
        assert stage.ask("/health")[0] == 200

    def test_too_many(self, stage: Stage) -> None:
        many = [socket.create_connection(("127.0.0.1", stage.port), timeout=20) for _ in range(listener.MAX_CLIENTS)]
        try:
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                stage.ask("/health")
        finally:
            for one in many:
                one.close()
        for _ in range(200):
            try:
                assert stage.ask("/health")[0] == 200
                break
            except ConnectionError:
                continue

    def test_rubbish(self, stage: Stage) -> None:
        for text in (b"\x00\xff" * 100, b"GET\r\n\r\n", b"POST /health HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nxx"):
            with socket.create_connection(("127.0.0.1", stage.port), timeout=20) as one:
                one.sendall(text)
                assert b" 40" in one.recv(100)
        assert stage.ask("/health")[0] == 200


def test_nothing_is_loaded_where_nothing_is_configured() -> None:
    program = "import sys, haagent.agent.assembly; print('aiohttp' in sys.modules, 'prometheus_client' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_addresses() -> None:
    for host in ("127.0.0.1", "[::1]"):
        tcp_listener(f"{host}:{free_port()}", key="http.listen").close()
    with pytest.raises(CannotServe, match="cannot assign requested address"):
        tcp_listener("192.0.2.1:7266", key="http.listen")
