"""One connection without its socket: bytes go in, and out come a hello, messages, and bytes to be sent.

Layers. TLS 1.3, in which both ends show a certificate (identity.py); in it frames, each 4 bytes of length and so many
bytes; the first frame of either end is its hello (messages.py); an empty one is a ping; the others are messages.

In TLS 1.3 the end that opens the connection is done first: it cannot know yet whether the other end believes it. It
need not: the hello of the other end comes only after that one has checked certificate and hello of this one. So each
end counts as linked when the hello of the other was read and found right, and then both have proved what they are.

There is no way around the certificates: no session is resumed (a ticket would do instead of a certificate), no early
data is taken. Each connection has keys of its own, so what was recorded says nothing in another.

What an end that is not believed yet can make us keep is what OpenSSL keeps of a handshake, and then `MAX_HELLO` bytes.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import msgspec

from haagent.peerlink.messages import (
    MAX_HELLO,
    MAX_MESSAGE,
    Cause,
    Hello,
    Over,
    Refused,
    decode,
    frame,
    judge,
    printable,
)
from haagent.peerlink.settings import Identity

_SERVER, _CLIENT = ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT
RECORD = 16 * 1024  # bytes: the most that one record of TLS holds
HEAD = 4


class Tls(msgspec.Struct, frozen=True):
    """What connections of one identity have in common."""

    accepting: ssl.SSLContext
    opening: ssl.SSLContext
    trusted: frozenset[bytes]


def tls(identity: Identity) -> Tls:
    # OpenSSL reads a key from a file only. This one has no name, and is gone when it was read; only who may look into
    # this process could have opened it meanwhile.
    secret = os.memfd_create("peerlink", os.MFD_CLOEXEC)
    try:
        os.fchmod(secret, 0o400)
        os.write(secret, identity.shown)
        path = f"/proc/self/fd/{secret}"
        accepting, opening = (_context(side, path, identity) for side in (_SERVER, _CLIENT))
    finally:
        os.close(secret)
    return Tls(accepting, opening, frozenset(identity.trusted))


def _context(side: int, path: str, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.check_hostname = False  # a certificate says that it is a member; which one, the hello
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET
    if side == _SERVER:
        context.num_tickets = 0
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=b"".join(identity.trusted))
    return context


class Channel:
    def __init__(self, tls: Tls, *, me: Hello, peers: frozenset[str]) -> None:
        """`me`: this node's hello; its `to` names the peer that the connection was opened to, or nobody: accepted."""
        self._trusted, self._me, self._peers = tls.trusted, me, peers
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.meant, accepts = me.to, not me.to
        context = tls.accepting if accepts else tls.opening
        self._tls = context.wrap_bio(self._in, self._out, server_side=accepts)
        self._is_secure = False
        self._buffer = bytearray()
        self.peer: Hello | None = None
        self.certificate = b""

    def start(self) -> None:
        """The opening end speaks first."""
        if self.meant:
            self._shake()

    def receive(self, data: bytes) -> Iterator[Hello | bytes]:
        """First the other end's hello, then its messages. Raises `Over`; what is `outgoing` is to be sent still."""
        self._in.write(data)
        if not self._is_secure and not self._shake():
            return
        while chunk := self._read():
            self._buffer += chunk
            yield from self._frames()

    def write(self, frames: bytes | bytearray) -> None:
        self._tls.write(frames)

    def outgoing(self) -> bytes:
        return self._out.read()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _over(error) from None
        # OpenSSL has checked this as well, in its own words: here it is plain that no other certificate will do.
        self.certificate = self._tls.getpeercert(binary_form=True) or b""
        if self.certificate not in self._trusted:
            raise Over(Cause.KEY)
        self._is_secure = True
        if self.meant:
            self._greet(self._me)
        return True

    def _read(self) -> bytes:
        try:
            return self._tls.read(RECORD)  # b"": the other end has said goodbye, and will close
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as error:
            raise _over(error) from None

    def _frames(self) -> Iterator[Hello | bytes]:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= HEAD:
            size = int.from_bytes(buffer[at : at + HEAD])
            if size > (MAX_MESSAGE if self.peer else MAX_HELLO):
                raise Over(Cause.OVERSIZED)
            end = at + HEAD + size
            if end > len(buffer):
                break
            message = bytes(buffer[at + HEAD : end])
            at = end
            if self.peer is None:
                self.peer = self._met(message)
                yield self.peer
            elif size:
                yield message
        del buffer[:at]

    def _met(self, message: bytes) -> Hello:
        said = decode(message)
        if isinstance(said, Refused):
            raise Over(Cause.REFUSED, printable(said.text))
        try:
            judge(said, me=self._me, peers=self._peers)
        except Over as over:
            if not self.meant:  # the other end waits for a hello: it is told instead why there is none
                self._greet(Refused(str(over)))
            raise
        if not self.meant:
            self._greet(msgspec.structs.replace(self._me, to=said.node))
        return said

    def _greet(self, what: Hello | Refused) -> None:
        self._tls.write(frame(msgspec.msgpack.encode(what)))


def _over(error: ssl.SSLError) -> Over:
    """Alerts are what the other end says of us: of what we have shown, it can only dislike the key."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE" in reason or reason.endswith("UNKNOWN_CA"):
        return Over(Cause.KEY)
    return Over(Cause.TLS)
