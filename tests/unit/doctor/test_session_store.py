"""The doctor's look at the session store: its door, and the way to those of the other nodes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from haagent.config import parse
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, Severity
from haagent.doctor.sessions import sessions
from tests.support.bare_host import looked, only, told_by_agent

FILE = """
cluster: shop
heartbeat: {{interfaces: [eth0], insecure: true, port: {link}}}
nodes: {{A: {{address: 127.0.0.1}}, B: {{address: 127.0.0.2}}, W: {{address: 127.0.0.3, witness: true}}}}
groups: {{web: {{addresses: [10.20.1.100/24]}}}}
sessions: {{listen: "127.0.0.1:{port}"{more}}}
"""
REDIS = ", store: redis, url: 'redis://10.0.0.5:6379'"


@pytest.fixture
def shut() -> Iterator[int]:
    """A port that nobody else gets, and where nobody listens."""
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))
        yield int(held.getsockname()[1])


def keeps(subject: Subject, *, port: int = 6380, link: int = 7265, node: str = "A", more: str = "") -> Subject:
    text = FILE.format(port=port, link=link, more=more)
    subject.config = parse(text.encode(), "shop.yaml", node=node)
    return subject


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def asked(subject: Subject, listener: socket.socket, answer: bytes, *, more: str = "") -> list[Finding]:
    """What is found where somebody answers so at the door."""
    keeps(subject, port=listener.getsockname()[1], more=more)
    subject.agent = told_by_agent(sessions={"peers": [] if more else [{"name": "B", "linked": True}]})

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(100)
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    found = looked(sessions, subject)
    thread.join()
    return found


@pytest.mark.parametrize(
    ("answer", "severity", "says"),
    [
        (b"+PONG\r\n", Severity.OK, "answers at 127.0.0.1:"),
        (b"-NOAUTH Authentication required.\r\n", Severity.OK, "answers at 127.0.0.1:"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", Severity.INFO, "is not ready yet"),
        (b"HTTP/1.1 400 Bad Request\r\n", Severity.ERROR, "is no session store: 'HTTP/1.1 400 Bad Request'"),
        (b"", Severity.ERROR, "is no session store: ''"),
    ],
)
def test_the_door(subject: Subject, listener: socket.socket, answer: bytes, severity: Severity, says: str) -> None:
    door, peer = asked(subject, listener, answer)
    assert door.severity is severity
    assert says in door.what
    assert (peer.severity, peer.what) == (Severity.OK, "the session stores of A and B are linked")


@pytest.mark.parametrize(
    ("answer", "severity", "says"),
    [
        (b"+PONG\r\n", Severity.OK, "the session store answers at 127.0.0.1:"),
        (b"-NOAUTH Authentication required.\r\n", Severity.OK, "the session store answers at 127.0.0.1:"),
        (b"-NOPERM User app has no permissions to run the 'ping' command\r\n", Severity.OK, "answers"),
        (b"-LOADING No Redis master can be reached. Try again.\r\n", Severity.ERROR, "there is no Redis master behind"),
    ],
)
def test_the_door_in_front_of_a_redis(
    subject: Subject, listener: socket.socket, answer: bytes, severity: Severity, says: str
) -> None:
    """It is all that is looked at: the nodes keep nothing that they would tell each other."""
    (door,) = asked(subject, listener, answer, more=REDIS)
    assert door.severity is severity
    assert says in door.what


def test_before_the_first_start_in_front_of_a_redis_nothing_is_looked_at(subject: Subject) -> None:
    assert looked(sessions, keeps(subject, more=REDIS)) == []


def test_a_door_that_is_shut(subject: Subject, shut: int) -> None:
    keeps(subject, port=shut)
    subject.agent = told_by_agent(sessions={"peers": [{"name": "B", "linked": True}]})
    door = looked(sessions, subject)[0]
    assert (door.severity, door.mend) == (Severity.ERROR, "haagent status")
    assert door.what.endswith("Connection refused")


def test_the_way_to_a_peer(subject: Subject, shut: int) -> None:
    """Without an agent here: before the first start."""
    with socket.create_server(("127.0.0.2", 0)) as peer:
        port = peer.getsockname()[1]
        found = only(sessions, keeps(subject, link=port))
        assert found.what == f"the session store of B can be reached at 127.0.0.2, TCP port {port}"
    found = only(sessions, keeps(subject, link=shut))
    assert found.severity is Severity.WARNING
    assert found.what == f"the session store of B cannot be reached at TCP port {shut} (127.0.0.2: Connection refused)"
    assert found.mend == f"start the agent on B, and open TCP port {shut} between the nodes"


def test_the_other_end_opens_the_link(subject: Subject) -> None:
    found = only(sessions, keeps(subject, node="B"))
    assert (found.severity, found.mend) == (Severity.INFO, "`haagent doctor` on A")


def test_where_there_are_none(subject: Subject) -> None:
    assert looked(sessions, subject) == []
    assert looked(sessions, keeps(subject, node="W")) == []
