"""Inputs at the link between peers: of a member that has the key and is not well, and of who has no key or another one.

A connection of the member lasts until the store has had enough of it, so one link may carry many inputs.
"""

from __future__ import annotations

import random
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from haagent.core.store.messages import Assembler, Compare, frames
from haagent.peerlink.channel import Channel, tls
from haagent.peerlink.identity import derive
from haagent.peerlink.messages import LAYOUT, MAX_HELLO, MAX_MESSAGE, Hello, Over, frame
from trials.fuzz.sayings import Heard, framed, hello, saying
from trials.fuzz.stage import CLUSTER, HOSTS, OURS, PATIENCE_S, STRANGER, Failed, Stage

HALF_OPEN = 40  # connections at a time; of strangers the store waits for 32
MOST = 64 * 1024 * 1024
FLOOD = 50_000  # messages, and no more than so many bytes
FLOOD_BYTES = 400_000
FIRST_ROUND = 1 << 20  # those of `sayings` are lower
TLS, STRANGE = tls(OURS), tls(derive((b"s" * 32,), cluster=CLUSTER))
PEERS = frozenset("BC")
PLAIN = (b"GET / HTTP/1.1\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x16\x03\x01", b"\x15\x03\x03\0\2\2\x28", b"")
ODD = ("", "A", "B", "C", "D", "x" * 300, "\x1b[2J", "\ud7ff", 0, -1, 1 << 63, None, [], {})


class Closed(Exception):
    """By the store."""


class Ours:
    """A connection to the store, with the channel of a peer on our side."""

    def __init__(self, stage: Stage, *, context: object = TLS, host: str = HOSTS["A"], me: Hello | None = None) -> None:
        self.socket = socket.create_connection(
            (HOSTS["B"], stage.link_port), timeout=PATIENCE_S, source_address=(host, 0)
        )
        self.channel = Channel(context, me=me or _hello(), peers=PEERS)  # type: ignore[arg-type]
        self.assembler, self.heard = Assembler(MOST), Heard()
        self.refusal = ""
        self._round = FIRST_ROUND
        self.is_linked = False

    def shake(self) -> None:
        """Until the store has said hello. `Closed`: it did not."""
        self.channel.start()
        self.flush()
        while not self.is_linked:
            self.read()

    def say(self, message: bytes) -> None:
        self.raw(frame(message))

    def raw(self, data: bytes) -> None:
        """In TLS, whatever it is."""
        self.channel.write(data)
        self.flush()

    def flush(self) -> None:
        try:
            self.socket.sendall(self.channel.outgoing())
        except TimeoutError:
            raise Failed(f"it takes nothing in for {PATIENCE_S:.0f} s, and keeps the connection") from None
        except OSError:
            raise Closed from None

    def ask(self) -> None:
        """Something that a store answers: when it does, it has done with all that came before. `Closed`, or that."""
        self._round += 1
        for each in frames(Compare(self._round, False)):
            self.say(each)
        while self.heard.answered != self._round:
            self.read()

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise Failed(f"no answer within {self.socket.gettimeout():.0f} s, and the connection stays") from None
        except OSError:
            raise Closed from None
        if not data:
            raise Closed
        try:
            for what in self.channel.receive(data):
                if isinstance(what, Hello):
                    self.is_linked = True
                elif what and (message := self.assembler.feed(what)) is not None:
                    self.heard.hear(message)
        except Over as over:
            self.refusal = str(over)
            raise Closed from None
        except (ValueError, msgspec.MsgspecError) as error:
            raise Failed(f"the store says what no store says: {error}") from None
        self.flush()

    def close(self) -> None:
        self.socket.close()


def _hello(**changes: object) -> Hello:
    return msgspec.structs.replace(Hello(LAYOUT, CLUSTER, "A", "B", 7, "1"), **changes)


class Link:
    """What `attack` does with the inputs, one after the other."""

    def __init__(self, stage: Stage) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0  # PING, after a flood
        self._stage = stage
        self._member: Ours | None = None
        self._half_open: deque[socket.socket] = deque()

    def attack(self, chance: random.Random) -> None:
        self._pick(chance)(chance)

    def close(self) -> None:
        if self._member is not None:
            self._member.close()
        for each in self._half_open:
            each.close()

    def _pick(self, chance: random.Random) -> Callable[[random.Random], None]:
        number = chance.random()
        for share, kind in (
            (0.01, self._floods),
            (0.02, self._ends_badly),
            (0.04, self._greets_badly),
            (0.01, self._is_foreign),
            (0.01, self._has_another_key),
            (0.02, self._speaks_no_tls),
            (0.01, self._stays_half_open),
        ):
            number -= share
            if number < 0:
                return kind
        return self._says

    # Of the member

    def _says(self, chance: random.Random) -> None:
        member = self._linked(chance)
        try:
            for each in framed(chance, saying(chance, member.heard)):
                member.say(each)
            member.ask()
            self.counts["messages of a member that were let pass"] += 1
        except Closed:
            self._dropped()
            self.counts["messages of a member that ended its link"] += 1

    def _floods(self, chance: random.Random) -> None:
        """It asks for more and more, and takes in nothing."""
        member = self._linked(chance)
        (question,) = frames(Compare(1, chance.random() < 0.5))
        message = question if chance.random() < 0.5 else b"\x00" + saying(chance, member.heard)
        data = frame(message) * min(FLOOD, FLOOD_BYTES // (len(message) + 4))
        member.channel.write(data)
        member.socket.settimeout(0.2)
        with suppress(OSError):
            member.socket.sendall(member.channel.outgoing())
        self.slowest_s = max(self.slowest_s, self._stage.attacked.check_answers())
        self._member = None
        self._keep(member.socket)
        self.counts["floods of a member that does not read"] += 1

    def _ends_badly(self, chance: random.Random) -> None:
        """Frames without an end, or of a length that none has."""
        member = self._linked(chance)
        length = chance.choice((MAX_MESSAGE + 1, MAX_MESSAGE, 1 << 31, (1 << 32) - 1, 100))
        try:
            member.raw(length.to_bytes(4, "big") + chance.randbytes(chance.choice((0, 10, 99))))
            if length > MAX_MESSAGE:
                while True:
                    member.read()
        except Closed:
            pass
        self._dropped()
        self.counts["frames of a member without an end"] += 1

    def _linked(self, chance: random.Random) -> Ours:
        if self._member is None:
            member = Ours(self._stage)
            try:
                member.shake()
                if chance.random() < 0.97:
                    member.say(b"\x00" + msgspec.msgpack.encode(hello(chance, member.heard)))
            except Closed:
                raise Failed(f"a member that greets as it should is refused: {member.refusal or 'no word'}") from None
            self._member = member
            self.counts["links"] += 1
        return self._member

    def _dropped(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None

    # Of who is not let in

    def _greets_badly(self, chance: random.Random) -> None:
        """It has the key, and its hello is of no peer."""
        fields = ["hello", LAYOUT, CLUSTER, "A", "B", 7, "1"]
        fields[chance.randrange(len(fields))] = chance.choice(ODD)  # type: ignore[call-overload]
        encoded = msgspec.msgpack.encode(fields)
        said = chance.choice((encoded, encoded, chance.randbytes(20), b"\x91" * 900, b"x" * (MAX_HELLO + 1)))
        if fields[:5] == ["hello", LAYOUT, CLUSTER, "A", "B"]:
            said = b""  # it may have another life, and another release
        other = Ours(self._stage)
        channel = other.channel
        channel._greet = lambda what: channel.write(frame(said))  # type: ignore[method-assign]
        self._is_refused(other)
        self.counts["greetings of no peer"] += 1

    def _is_foreign(self, chance: random.Random) -> None:
        """With our key, of another cluster."""
        self._is_refused(Ours(self._stage, me=_hello(cluster="other")), is_told=True)
        self.counts["members of another cluster"] += 1

    def _has_another_key(self, chance: random.Random) -> None:
        host = chance.choice((HOSTS["A"], STRANGER))
        self._is_refused(Ours(self._stage, context=STRANGE, host=host))
        self.counts["strangers with another key"] += 1

    def _is_refused(self, other: Ours, *, is_told: bool = False) -> None:
        try:
            other.shake()
        except Closed:
            pass
        else:
            raise Failed("somebody was let in who is no peer")
        finally:
            other.close()
        if is_told and not other.refusal:
            raise Failed("a member of another cluster is not told why it is refused")

    def _speaks_no_tls(self, chance: random.Random) -> None:
        data = chance.choice(PLAIN) + chance.randbytes(chance.choice((0, 1, 50, 5_000)))
        with self._plain(chance) as plain, suppress(OSError):
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass
        self.counts["no TLS"] += 1

    def _stays_half_open(self, chance: random.Random) -> None:
        plain = self._plain(chance)
        channel = Channel(TLS, me=_hello(), peers=PEERS)
        channel.start()
        said = channel.outgoing()
        with suppress(OSError):
            plain.sendall(said[: chance.randrange(len(said) + 1)])
        self._keep(plain)
        self.counts["left half-open"] += 1

    def _plain(self, chance: random.Random) -> socket.socket:
        host, place = chance.choice((HOSTS["A"], STRANGER)), (HOSTS["B"], self._stage.link_port)
        return socket.create_connection(place, timeout=PATIENCE_S, source_address=(host, 0))

    def _keep(self, plain: socket.socket) -> None:
        self._half_open.append(plain)
        if len(self._half_open) > HALF_OPEN:
            self._half_open.popleft().close()
