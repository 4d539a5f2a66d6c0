"""The door of this node's session store, from a command's side: the Redis protocol, in as few words as are needed.

So no session passes through the agent, and a long scan delays nothing there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from haagent.cli.outcome import NOT_RUNNING, REFUSED, USAGE, Failure

if TYPE_CHECKING:
    from haagent.cli.invocation import Invocation

ANSWER_S = 60.0  # a store answers in milliseconds; a change may wait for the other nodes
COUNT = b"500"  # keys that are looked at in one go

# What any command may be answered, by its first word: how this one ends.
ENDS = {
    "LOADING": "The session store is not ready: it takes over what the other nodes have, or waits for them. "
    "`haagent status` says when it is.",
    "NOREPLICAS": "No other node has confirmed the change, and `strict: true` demands one; it may have been made "
    "here all the same. `haagent sessions stats` says which nodes are away.",
    "OOM": "The session store is full (`sessions.max_memory`), and nothing more is accepted.",
}

Word = bytes | str | int


class Refusal(NamedTuple):
    """An error, as Redis tells it."""

    text: str


class StoreClient:
    def __init__(self, connection: socket.socket, place: str) -> None:
        self._socket, self.place = connection, place
        self._lines = connection.makefile("rb")

    def __enter__(self) -> StoreClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, *words: Word) -> Any:
        (reply,) = self.ask_all([words])
        if isinstance(reply, Refusal):
            raise Failure(f"The session store refuses `{words[0]!s}`: {reply.text.rstrip('.')}.")
        return reply

    def ask_all(self, commands: list[tuple[Word, ...]]) -> list[Any]:
        """All replies, in order. Whoever asks for much asks in portions: the store may be unable to write meanwhile."""
        try:
            self._socket.sendall(b"".join(map(_packed, commands)))
            replies = [self._reply() for _ in commands]
        except TimeoutError:
            raise Failure(f"The session store at {self.place} has not answered for {ANSWER_S:g} s.") from None
        except ValueError:
            raise Failure(f"What answers at {self.place} is no session store.") from None
        except (OSError, EOFError):
            text = f"The session store at {self.place} has closed the connection: it has ended. Try again."
            raise Failure(text) from None
        for reply in replies:
            if isinstance(reply, Refusal) and (end := ENDS.get(reply.text.partition(" ")[0])):
                raise Failure(end)
        return replies

    def _reply(self) -> Any:
        line = self._lines.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                return Refusal(rest.decode("utf-8", "replace"))
            case b":":
                return int(rest)
            case b"$" | b"*" if rest == b"-1":
                return None
            case b"$":
                data = self._lines.read(int(rest) + 2)
                if len(data) < int(rest) + 2:
                    raise EOFError
                return data[:-2]
            case b"*":
                return [self._reply() for _ in range(int(rest))]
        raise ValueError(kind)

    def databases(self) -> dict[int, int]:
        """Those that are not empty, and how many keys each has."""
        found = {}
        for line in self.ask("INFO", "keyspace").decode().splitlines():
            name, _, facts = line.partition(":")
            if name.startswith("db"):
                found[int(name[2:])] = int(facts.partition(",")[0].removeprefix("keys="))
        return found

    def keys(self, db: int, pattern: str | bytes = b"") -> Iterator[list[bytes]]:
        """Some at a time, with this database chosen for what is asked in between."""
        matching = ("MATCH", pattern) if pattern else ()
        cursor: bytes = b"0"
        self.ask("SELECT", db)
        while True:
            cursor, some = self.ask("SCAN", cursor, *matching, "COUNT", COUNT)
            if some:
                yield some
            if cursor == b"0":
                return


def _packed(words: Iterable[Word]) -> bytes:
    texts = [word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(texts) + b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def open_client(invocation: Invocation, file: str) -> tuple[StoreClient, tuple[bytes, ...]]:
    """And how the keys of sessions begin. The Unix socket if there is one: nobody else can listen there."""
    from haagent.config import check
    from haagent.config.keys import load_password
    from haagent.core.store.settings import SESSION_KEYS

    sessions = check(file).sessions
    if sessions is None:
        raise Failure(
            f"{file} has no `sessions:`, so its nodes keep none. docs/guide/sessions.md says how to begin.",
            status=USAGE,
        )
    if sessions.store == "redis":
        raise Failure(
            "Sessions are in a Redis of your own (`store: redis`), beside whatever else is there: use its tools.",
            status=USAGE,
        )
    password = load_password(sessions.password_file) if sessions.password_file else ""
    client = _connected(invocation, sessions.socket or sessions.listen)
    replies = client.ask_all([("AUTH", password), ("PING",)] if password else [("PING",)])
    if any(isinstance(reply, Refusal) for reply in replies):
        which = f"takes another password than the one in {sessions.password_file}" if password else "wants a password"
        raise Failure(
            f"The session store at {client.place} {which}: it was started with another configuration. Restart the "
            "agents one after the other, or put the old one back.",
            status=REFUSED,
        )
    return client, tuple(key.encode() for key in sessions.session_keys) or SESSION_KEYS


def _connected(invocation: Invocation, place: str) -> StoreClient:
    from haagent.config.kinds import host_and_port

    connection = socket.socket(socket.AF_UNIX) if place.startswith("/") else None
    try:
        if connection is not None:
            connection.settimeout(ANSWER_S)
            connection.connect(place)
        else:
            connection = socket.create_connection(host_and_port(place).from_here(), timeout=ANSWER_S)
    except PermissionError:
        text = f"You may not use {place}. Run this as root, or as one of its group (`sessions.socket_mode`)."
        raise Failure(text, status=REFUSED) from None
    except OSError as error:
        raise _unreachable(invocation, place, error) from None
    return StoreClient(connection, place)


def _unreachable(invocation: Invocation, place: str, error: OSError) -> Failure:
    from haagent.control.place import running_pid

    text = f"The session store does not answer at {place} ({error.strerror or error})"
    if running_pid(invocation.run_dir):
        return Failure(f"{text}, though the agent runs. `haagent status` says why; a witness keeps no sessions.")
    return Failure(
        f"{text}: the agent is not running here. Start it with `systemctl start haagent`.", status=NOT_RUNNING
    )
