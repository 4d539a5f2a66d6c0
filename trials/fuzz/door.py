"""Inputs at the door. Each has a connection of its own: some stay open, and some do not read what they are answered."""

from __future__ import annotations

import random
import socket
from collections import Counter, deque

from trials.fuzz.replies import Malformed, Unfinished, replies
from trials.fuzz.requests import KEYS, payload
from trials.fuzz.stage import PATIENCE_S, Failed, Stage

HALF_OPEN, SLOW = 64, 8  # connections at a time
INTERNAL = b"-ERR internal error"
QUIT = b"*1\r\n$4\r\nQUIT\r\n"
FULL_AND_HELD = b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key) for key in KEYS) * 20


class Door:
    """What `attack` does with the inputs, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0  # PING: nothing that it does makes one worth looking at by itself
        self._stage = stage
        self._half_open: deque[socket.socket] = deque()
        self._slow: deque[socket.socket] = deque()

    def attack(self, chance: random.Random) -> None:
        wire, is_whole = payload(chance)
        manner = chance.random()
        with_quit = wire + QUIT if is_whole else wire
        client = socket.socket()
        client.settimeout(PATIENCE_S)
        if manner < 0.01:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self._stage.attacked.port))
        if manner < 0.01:
            self._leave(client, wire + FULL_AND_HELD, self._slow, SLOW, "read nothing")
        elif manner < 0.05:
            self._leave(client, wire[: chance.randrange(len(wire) + 1)], self._half_open, HALF_OPEN, "left half-open")
        else:
            self._ask(client, with_quit, is_whole=is_whole, piece=chance.choice((0, 0, 0, 1, 7, 100)))

    def close(self) -> None:
        for each in (*self._half_open, *self._slow):
            each.close()

    def _leave(self, client: socket.socket, wire: bytes, where: deque[socket.socket], most: int, how: str) -> None:
        """What the kernel does not take at once is not said."""
        client.setblocking(False)
        try:
            client.send(wire)
        except (BlockingIOError, ConnectionError):
            pass
        self.counts[how] += 1
        where.append(client)
        if len(where) > most:
            where.popleft().close()

    def _ask(self, client: socket.socket, wire: bytes, *, is_whole: bool, piece: int) -> None:
        answer = bytearray()
        was_reset = False
        with client:
            try:
                for at in range(0, min(len(wire), 20 * piece), piece) if piece else ():
                    client.sendall(wire[at : at + piece])
                self._send_and_read(client, wire[20 * piece :], answer)
                if not is_whole:
                    client.shutdown(socket.SHUT_WR)
                while data := client.recv(1 << 20):
                    answer += data
            except TimeoutError:
                raise Failed(f"no end of the answers within {PATIENCE_S:.0f} s") from None
            except OSError:  # it was let go while it spoke
                was_reset = True
        self.judge(bytes(answer), was_reset=was_reset, is_whole=is_whole)

    def _send_and_read(self, client: socket.socket, wire: bytes, answer: bytearray) -> None:
        """A client that only writes may be held up by its own answers."""
        view = memoryview(wire)
        client.settimeout(0.05)
        while view:
            try:
                view = view[client.send(view) :]
            except TimeoutError:
                try:
                    answer += client.recv(1 << 20)
                except TimeoutError:
                    pass
        client.settimeout(PATIENCE_S)

    def judge(self, answer: bytes, *, was_reset: bool, is_whole: bool) -> None:
        try:
            kinds = replies(answer)
        except Malformed as error:
            raise Failed(f"the answer is no RESP: {error}") from None
        except Unfinished:
            if not was_reset:
                raise Failed("the answer ends in the middle") from None
            kinds = []
        if any(kind.startswith(INTERNAL) for kind in kinds):
            raise Failed("an internal error")
        faults = [kind for kind in kinds if kind.startswith(b"-ERR Protocol error")]
        if is_whole and faults:
            raise Failed(f"a whole command is refused: {faults[0]!r}")
        if len(faults) > 1:
            raise Failed("it has heard more after a protocol error")
        self.counts["ended by a protocol error" if faults else "reset" if was_reset else "answered"] += 1
