"""The master goes, comes back, becomes a replica, or another one is master: what clients see of it."""

from __future__ import annotations

import shlex
import signal
import socket
import threading
import time

import pytest

from haagent.sessions.relay import exchange
from haagent.sessions.relay.items import AWAY, UNKNOWN
from haagent.sessions.relay.server import Relay
from haagent.sessions.relay.settings import RelaySettings
from tests.support.door import Talk, packed
from tests.support.ports import free_port
from tests.support.redis_stage import Server, relay, stage, until


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis may take its time to start here."""
    monkeypatch.setattr(exchange, "HOLD_S", 30.0)


def is_closed(talk: Talk) -> bool:
    try:
        talk.rest()
    except ConnectionError:
        pass
    return True


def is_held(talk: Talk) -> bool:
    """It has been asked, and nothing has come back for a while."""
    talk.socket.settimeout(0.1)
    try:
        return not talk.socket.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        talk.socket.settimeout(60.0)


def break_all(server: Server) -> None:
    """As the master of these connections sees it, they end."""
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_what_is_asked_while_it_restarts_is_answered_when_it_is_back() -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as writer, Talk(door.port) as reader:
            assert [talk.ask("PING") for talk in (writer, reader)] == [b"+PONG\r\n"] * 2
            server.kill()
            until(lambda: door.source.counts["reconnects"] == 2)  # else it may be sent, and lost
            writer.socket.sendall(packed("SET", "a", "1") + packed("INCR", "a"))
            reader.socket.sendall(packed("PING"))
            server.start()
            assert [writer.reply(), writer.reply(), reader.reply()] == [b"+OK\r\n", b":2\r\n", b"+PONG\r\n"]
            assert not door.source.counts["unknown_outcomes"]


def test_a_master_that_became_a_replica_is_not_shown() -> None:
    with stage() as made:
        server, other = made.server(), made.server()
        with relay(server) as door, Talk(door.port) as talk:
            assert talk.ask("SET", "a", "1") == b"+OK\r\n"
            server.follows(other)
            talk.socket.sendall(packed("SET", "a", "2") + packed("GET", "a") + packed("QUIT"))
            assert is_held(talk)
            server.leads()
            assert talk.rest() == b"+OK\r\n$1\r\n2\r\n+OK\r\n"
            assert door.source.counts["held"] >= 2


def test_who_waits_too_long_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HOLD_S", 0.5)
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            assert talk.ask("PING") == b"+PONG\r\n"
            told: list[bool] = []
            door.on_change = lambda: told.append(door.facts().is_ready)
            server.kill()
            until(lambda: door.source.counts["reconnects"])
            assert talk.ask("SET", "a", "1") == AWAY
            until(lambda: door.source.is_away(exchange.HOLD_S))
            talk.socket.sendall(packed("SET", "a", "1") + packed("GET", "a"))
            assert [talk.reply(), talk.reply()] == [AWAY, AWAY]
            assert not door.source.is_ready
            server.start()
            until(lambda: door.source.is_ready)
            assert talk.ask("GET", "a") == b"$-1\r\n"
            assert told == [False, True], "a balancer waits for it"
            assert door.facts().counts["given_up"] == 3


def test_a_change_whose_fate_is_unknown_is_not_made_twice() -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk, Talk(door.port) as reader:
            assert [each.ask("PING") for each in (talk, reader)] == [b"+PONG\r\n"] * 2
            server.signal(signal.SIGSTOP)
            talk.socket.sendall(packed("GET", "a") + packed("INCR", "n") + packed("GET", "n"))
            reader.socket.sendall(packed("EXISTS", "n"))
            assert is_held(talk)
            server.kill()
            server.start()
            assert [talk.reply() for _ in range(3)] == [AWAY, UNKNOWN, b"$-1\r\n"], "what came before it waits no more"
            assert reader.reply() == b":0\r\n"
            assert door.source.counts["unknown_outcomes"] == 1
            assert talk.ask("INCR", "n") == b":1\r\n"


def test_of_many_that_are_asked_at_once_only_what_was_sent_is_unknown() -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            assert talk.ask("PING") == b"+PONG\r\n"
            server.signal(signal.SIGSTOP)
            talk.socket.sendall(packed("INCR", "n") * 3000)
            assert is_held(talk)
            server.kill()
            server.start()
            answers = [talk.reply() for _ in range(3000)]
            sent = answers.count(UNKNOWN)
            assert 0 < sent <= exchange.MOST_SENT
            assert answers == [UNKNOWN] * sent + [b":%d\r\n" % number for number in range(1, 3001 - sent)]
            assert server.ask("GET", "n") == b"%d" % (3000 - sent)


def test_what_was_made_and_not_confirmed_has_an_unknown_outcome_too() -> None:
    with stage() as made:
        server = made.server()
        settings = RelaySettings(host="127.0.0.1", port=server.port, sync_timeout_s=60.0, is_strict=True)
        with relay(settings) as door, Talk(door.port) as talk:
            talk.socket.sendall(packed("SET", "a", "1"))
            until(lambda: server.ask("GET", "a") == b"1")
            break_all(server)
            assert talk.reply() == UNKNOWN
            assert talk.ask("GET", "a") == b"$1\r\n1\r\n"
            assert door.source.counts["unknown_outcomes"] == 1


def test_a_new_connection_is_told_what_the_old_one_knew() -> None:
    with stage() as made:
        server = made.server()
        settings = RelaySettings(host="127.0.0.1", port=server.port, is_sync=False, database=2)
        with relay(settings) as door, Talk(door.port) as talk, Talk(door.port) as plain:
            talk.ask("HELLO", "3")
            talk.ask("SELECT", "5")
            talk.ask("CLIENT", "SETNAME", "me")
            for each in (talk, plain):
                each.ask("SET", "a", "1")
            for _ in range(3):
                break_all(server)
                assert b"db=2" in plain.ask("CLIENT", "INFO")
                told = talk.ask("CLIENT", "INFO")
                assert b"db=5" in told
                assert b"name=me" in told
                assert b"resp=3" in told
                assert told.startswith(b"=")
            assert talk.ask("RESET") == b"+RESET\r\n"
            assert b"db=2" in talk.ask("CLIENT", "INFO")


@pytest.mark.parametrize("said", ["MULTI|SET a 1", "WATCH a", "SUBSCRIBE c", "HELLO 3|CLIENT TRACKING on"])
def test_what_only_that_connection_knew_goes_with_it(said: str) -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            for line in said.split("|"):
                assert talk.ask(*line.split())[:1] != b"-"
            break_all(server)
            assert is_closed(talk)
            with Talk(door.port) as again:
                assert again.ask("GET", "a") == b"$-1\r\n"


@pytest.mark.parametrize("said", ["MULTI|SET a 1|EXEC", "WATCH a|MULTI|SET a 1|DISCARD", "WATCH a|UNWATCH"])
def test_what_has_ended_binds_no_more(said: str) -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            for line in said.split("|"):
                talk.ask(*line.split())
            break_all(server)
            assert talk.ask("PING") == b"+PONG\r\n"


def test_a_transaction_that_a_replica_refuses_ends_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HOLD_S", 0.5)
    with stage() as made:
        server, other = made.server(), made.server()
        with relay(server) as door, Talk(door.port) as talk:
            assert talk.ask("PING") == b"+PONG\r\n"
            server.follows(other)
            talk.socket.sendall(packed("MULTI") + packed("SET", "a", "1") + packed("EXEC"))
            said = talk.rest()
            assert said in (b"+OK\r\n" + AWAY * 2, AWAY * 3), "the second, if it was known already"


def test_a_transaction_that_cannot_begin_has_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows would be taken for a part of it, here, and not at Redis."""
    monkeypatch.setattr(exchange, "HOLD_S", 0.5)
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            server.kill()
            talk.socket.sendall(packed("MULTI"))
            assert talk.rest() == AWAY


def test_a_reply_that_breaks_off_ends_the_connection() -> None:
    with stage() as made:
        server = made.server()
        with relay(server) as door, Talk(door.port) as talk:
            server.ask("SETRANGE", "large", str(100 * 1024 * 1024), "x")
            talk.socket.sendall(packed("GET", "large"))
            assert talk.socket.recv(5)
            server.signal(signal.SIGSTOP)
            server.kill()
            server.start()
            assert is_closed(talk)
            with Talk(door.port) as again:
                assert again.ask("PING") == b"+PONG\r\n"


def test_a_replica_alone_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HOLD_S", 0.5)
    with stage() as made:
        master = made.server()
        replica = made.replica(master)
        with relay(replica, is_ready=False) as door:
            until(lambda: "is no master" in door.source.why)
            assert "there are no sentinels" in door.source.why
            with Talk(door.port) as talk:
                until(lambda: talk.ask("GET", "a") == AWAY)
            replica.leads()
            until(lambda: door.source.is_ready)


def test_a_cluster_is_not_used() -> None:
    with stage() as made:
        server = made.server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        with relay(server, is_ready=False) as door:
            until(lambda: "Cluster" in door.source.why)


def test_passwords_are_used_and_shown_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with stage() as made:
        server = made.server("--requirepass", "sesame")
        wrong = RelaySettings(host="127.0.0.1", port=server.port, password="tahini")
        with relay(wrong, is_ready=False) as door:
            until(lambda: "WRONGPASS" in door.source.why)
        right = RelaySettings(host="127.0.0.1", port=server.port, password="sesame", is_sync=False)
        with relay(right, password="sesame") as door, Talk(door.port) as talk:
            assert talk.ask("GET", "a").startswith(b"-NOAUTH")
            assert talk.ask("HELLO", "3").startswith(b"-NOAUTH")
            assert talk.ask("AUTH", "tahini").startswith(b"-WRONGPASS")
            assert talk.ask("HELLO", "3", "AUTH", "default", "tahini").startswith(b"-WRONGPASS")
            assert talk.ask("HELLO", "3", "AUTH", "default", "sesame", "SETNAME", "me").startswith(b"%7")
            assert b"name=me" in talk.ask("CLIENT", "INFO")
            assert talk.ask("RESET") == b"+RESET\r\n"
            talk.socket.sendall(packed("GET", "a") + packed("AUTH", "sesame") + packed("GET", "a"))
            assert [talk.reply()[:5] for _ in range(3)] == [b"-NOAU", b"+OK\r\n", b"$-1\r\n"]
        assert "sesame" not in repr(right) + caplog.text
        assert "tahini" not in caplog.text


# ---------------------------------------------------------------------- sentinels


class Writer(threading.Thread):
    """Sets one key after the other, on one connection, and remembers what it was answered."""

    def __init__(self, door: Relay) -> None:
        super().__init__(daemon=True)
        self.answers: list[tuple[str, bytes]] = []
        self._door, self._ends = door, threading.Event()

    def run(self) -> None:
        with Talk(self._door.port) as talk:
            while not self._ends.is_set():
                key = f"k{len(self.answers)}"
                self.answers.append((key, talk.ask("SET", key, "1")))

    def end(self) -> None:
        self._ends.set()
        self.join(60.0)
        assert not self.is_alive()

    def kinds(self) -> set[bytes]:
        return {answer for _, answer in self.answers}


def sentinels(ports: list[int], **more: object) -> RelaySettings:
    return RelaySettings(sentinels=tuple(("127.0.0.1", port) for port in ports), master="shop", **more)  # type: ignore[arg-type]


def test_sentinels_say_who_is_master_and_nobody_sees_that_it_was_killed() -> None:
    with stage() as made:
        master = made.server()
        replica = made.replica(master)
        asked = [made.sentinel(master) for _ in range(2)]
        with relay(sentinels(asked, is_strict=True, sync_timeout_s=2.0)) as door:
            assert str(door.source.target) == f"127.0.0.1:{master.port}"
            with Talk(asked[0]) as sentinel:
                until(lambda: b"slaves=1,sentinels=2" in sentinel.ask("INFO", "sentinel"))
            writer = Writer(door)
            writer.start()
            until(lambda: len(writer.answers) > 50)
            master.kill()
            until(lambda: str(door.source.target) == f"127.0.0.1:{replica.port}")
            before = len(writer.answers)
            until(lambda: len(writer.answers) > before + 2)
            writer.end()
            no_replicas = {answer for answer in writer.kinds() if answer.startswith(b"-NOREPLICAS")}
            assert writer.kinds() - no_replicas <= {b"+OK\r\n", AWAY, UNKNOWN}
            confirmed = [key for key, answer in writer.answers if answer == b"+OK\r\n"]
            assert len(confirmed) >= 50
            assert replica.ask("EXISTS", *confirmed) == len(confirmed), "what was confirmed is there"


def test_a_planned_failover_is_followed() -> None:
    with stage() as made:
        master = made.server()
        replica = made.replica(master)
        asked = made.sentinel(master)
        with relay(sentinels([asked], is_sync=False)) as door, Talk(asked) as sentinel:
            until(lambda: b"slaves=1" in sentinel.ask("INFO", "sentinel"))
            writer = Writer(door)
            writer.start()
            until(lambda: len(writer.answers) > 50)
            until(lambda: sentinel.ask("SENTINEL", "FAILOVER", "shop") == b"+OK\r\n")
            until(lambda: str(door.source.target) == f"127.0.0.1:{replica.port}")
            before = len(writer.answers)
            until(lambda: len(writer.answers) > before + 50)
            writer.end()
            assert writer.kinds() <= {b"+OK\r\n", AWAY, UNKNOWN}
            assert replica.ask("EXISTS", writer.answers[-2][0]) == 1


def test_what_no_sentinel_knows_is_said() -> None:
    with stage() as made:
        master = made.server()
        asked = made.sentinel(master)
        settings = RelaySettings(sentinels=(("127.0.0.1", asked),), master="other")
        with relay(settings, is_ready=False) as door:
            until(lambda: "No such master with that name" in door.source.why)
            assert f"127.0.0.1:{asked}" in door.source.why


def test_replicas_that_are_missing_are_waited_for_once() -> None:
    with stage() as made:
        master = made.server()
        settings = RelaySettings(host="127.0.0.1", port=master.port, sync_timeout_s=1.0)
        with relay(settings) as door, Talk(door.port) as talk:
            began = time.monotonic()
            assert talk.ask("SET", "a", "1") == b"+OK\r\n"
            assert time.monotonic() - began > 0.9
            assert (door.source.is_short, door.facts().relay.is_short) == (True, True)  # type: ignore[union-attr]
            for _ in range(50):
                assert talk.ask("SET", "a", "1") == b"+OK\r\n"
            assert door.source.counts["waits_short"] == 51
            made.replica(master)
            until(lambda: talk.ask("SET", "a", "2") == b"+OK\r\n" and not door.source.is_short)


def test_strict_says_that_replicas_are_missing() -> None:
    with stage() as made:
        master = made.server()
        settings = RelaySettings(host="127.0.0.1", port=master.port, sync_timeout_s=0.2, is_strict=True)
        with relay(settings) as door, Talk(door.port) as talk:
            for line in ("SET a 1", "INCR a", "EVAL 'return 1' 0"):
                assert talk.ask(*shlex.split(line)).startswith(b"-NOREPLICAS")
            assert talk.ask("HSET", "a", "f", "1").startswith(b"-WRONGTYPE"), "its own error says more"
            assert talk.ask("GET", "a") == b"$1\r\n2\r\n"
            made.replica(master)
            until(lambda: talk.ask("SET", "a", "1") == b"+OK\r\n")
