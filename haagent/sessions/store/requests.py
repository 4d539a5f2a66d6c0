"""What a client sends, as Redis reads it: arrays of bulk strings, or inline commands; whole, in pieces, many at once.

hiredis reads the usual chunk, which begins and ends with a command. It parses replies, and so takes more than a server
may (`$-1`, numbers, arrays in arrays), waits for what is refused (`$99999999999`), and does not say where it stands. So
a mark is fed behind each chunk: if what comes out are commands and then the mark, the chunk was whole. If not, the
reader is thrown away and the chunk goes through `_Exact`, which follows networking.c of Redis 7.0 and keeps what is
unfinished. Nothing is executed before the chunk has been read, so reading it twice changes nothing.

hiredis also makes room for as many items as are announced, before one of them is there. A chunk that may announce
millions is not shown to it.
"""

from __future__ import annotations

import re

import hiredis

from haagent.sessions.store.numbers import integer
from haagent.sessions.store.replies import Refused

INLINE_MAX = 64 * 1024  # PROTO_INLINE_MAX_SIZE: the longest line without a value
MAX_ARGUMENTS = 2**31 - 1
UNKNOWN_ARGUMENTS, UNKNOWN_BYTES = 10, 16384  # what may be announced before the password has been told

ARGUMENT_BYTES = 64  # what an argument takes besides its own bytes
MILLIONS = re.compile(rb"\r(?<=[0-9]{7}\r)")  # begins with what is soon found: nearly no chunk has it
MARK = b",1\r\n"  # as hiredis has read it: a float, which no command is

Commands = list[list[bytes]]


class Broken(Exception):
    """The client does not speak the protocol. Its connection is closed after it has been told."""

    @property
    def wire(self) -> bytes:
        return Refused(f"ERR Protocol error: {self}".encode("latin-1")).wire


class Requests:
    """Bytes in, commands out. `fault` is set when what follows the commands that came out makes no sense.

    From a client that has not told its password one command comes out at a time: the next `feed(b"")` is to know more.
    """

    def __init__(self, *, max_bytes: int, is_known: bool = True) -> None:
        self.is_known = is_known  # False: a password is still to come
        self.is_unusual = not is_known  # there is more to be done than to execute what came out
        self.fault: Broken | None = None
        self._fast = hiredis.Reader()
        self._exact = _Exact(max_bytes)

    def feed(self, data: bytes) -> Commands:
        if not self.is_unusual:
            commands = self._quickly(data) if data[:1] == b"*" and not MILLIONS.search(data) else None
            if commands is not None:
                return commands
        found: Commands = []
        try:
            self._exact.feed(data, found, is_known=self.is_known)
        except Broken as fault:
            self.fault = fault
        self.is_unusual = not self._exact.is_idle or not self.is_known or self.fault is not None
        return found

    @property
    def left(self) -> int:
        """Bytes of a command that is not there as a whole."""
        return self._exact.held

    def _quickly(self, data: bytes) -> Commands | None:
        reader = self._fast
        found: Commands = []
        try:
            reader.feed(data)
            reader.feed(MARK)
            while True:
                item = reader.gets()
                if type(item) is list:
                    b"".join(item)  # a TypeError for what is no bulk string
                    if item:
                        found.append(item)
                elif type(item) is float and not reader.has_data():
                    return found
                else:
                    break
        except (hiredis.HiredisError, TypeError):
            pass
        self._fast = hiredis.Reader()
        return None


class _Exact:
    """A command begun stays here: its arguments so far, and how many are to come."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._at = 0  # where in it the next piece begins
        self._begun: list[bytes] = []
        self._to_come = 0
        self._bulk = -1  # length of the argument that is being read; -1: its header is
        self._read = 0  # bytes of the arguments in `_begun`

    @property
    def is_idle(self) -> bool:
        return not self._buffer and not self._to_come

    @property
    def held(self) -> int:
        return len(self._buffer) + self._read

    def feed(self, data: bytes, found: Commands, *, is_known: bool) -> None:
        buffer = self._buffer
        buffer += data
        if self._bulk >= 0 and len(buffer) < self._bulk + 2:
            return  # a piece of a large value: nothing to look for
        self._at = 0
        try:
            while self._at < len(buffer) and (is_known or not found):
                if not (self._piece(found, is_known=is_known) if self._is_array() else self._inline(found)):
                    break
        finally:
            del buffer[: self._at]

    def _is_array(self) -> bool:
        return self._to_come > 0 or self._buffer[self._at] == ord("*")

    def _inline(self, found: Commands) -> bool:
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            if len(self._buffer) - self._at > INLINE_MAX:
                raise Broken("too big inline request")
            return False
        arguments = words(bytes(self._buffer[self._at : end]).removesuffix(b"\r"))
        if arguments is None:
            raise Broken("unbalanced quotes in request")
        if arguments:
            found.append(arguments)
        self._at = end + 1
        return True

    def _piece(self, found: Commands, *, is_known: bool) -> bool:
        """Take one piece of an array; False: it is not there as a whole."""
        if not self._to_come:
            return self._count(is_known=is_known)
        if self._bulk < 0:
            return self._length(is_known=is_known)
        end = self._at + self._bulk
        if len(self._buffer) < end + 2:
            return False
        self._begun.append(bytes(self._buffer[self._at : end]))
        self._read += self._bulk + ARGUMENT_BYTES
        if self._read > self._max_bytes:
            raise Broken("too big request")
        self._at, self._bulk = end + 2, -1
        self._to_come -= 1
        if not self._to_come:
            found.append(self._begun)
            self._begun, self._read = [], 0
        return True

    def _count(self, *, is_known: bool) -> bool:
        end = self._line("too big mbulk count string")
        if end < 0:
            return False
        count = integer(self._buffer[self._at + 1 : end])
        if count is None or count > MAX_ARGUMENTS:
            raise Broken("invalid multibulk length")
        if count > UNKNOWN_ARGUMENTS and not is_known:
            raise Broken("unauthenticated multibulk length")
        self._at, self._to_come = end + 2, max(count, 0)
        return True

    def _length(self, *, is_known: bool) -> bool:
        end = self._line("too big bulk count string")
        if end < 0:
            return False
        if self._buffer[self._at] != ord("$"):
            raise Broken(f"expected '$', got '{chr(self._buffer[self._at])}'")
        length = integer(self._buffer[self._at + 1 : end])
        if length is None or not 0 <= length <= self._max_bytes:
            raise Broken("invalid bulk length")
        if length > UNKNOWN_BYTES and not is_known:
            raise Broken("unauthenticated bulk length")
        self._at, self._bulk = end + 2, length
        return True

    def _line(self, fault: str) -> int:
        """Where the line ends that begins here; -1: it has not come yet."""
        end = self._buffer.find(b"\r", self._at)
        if end < 0 and len(self._buffer) - self._at > INLINE_MAX:
            raise Broken(fault)
        return end if end < len(self._buffer) - 1 else -1


WORD = re.compile(
    rb"""([^ \n\r\t"']*)(?:"((?:[^"\\]|\\.)*)"(?=\s|\Z)|'((?:[^'\\]|\\'|\\(?!'))*)'(?=\s|\Z))?""", re.DOTALL
)
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def words(line: bytes) -> list[bytes] | None:
    """An inline command's arguments, quoted as redis-cli quotes (sdssplitargs); None: a quote has no end."""
    line, found, at = line.split(b"\0", 1)[0].strip(), [], 0
    while at < len(line):
        word = WORD.match(line, at)
        assert word is not None  # it matches nothing, too
        at = word.end()
        if at < len(line) and not line[at : at + 1].isspace():
            return None
        bare, double, single = word.groups(b"")
        found.append(bare + ESCAPE.sub(_unescaped, double) + single.replace(b"\\'", b"'"))
        while line[at : at + 1].isspace():
            at += 1
    return found


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code, letter = escape.groups()
    return bytes([int(code, 16)]) if code else ESCAPED.get(letter, letter)
