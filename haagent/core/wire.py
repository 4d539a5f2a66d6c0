"""The sealed form of a heartbeat: `Sealer` makes datagrams of it, `Opener` opens them or says why not.

Layout. A datagram is a cleartext header (the table `HEADER`), the sender's name, the payload and a trailer.
The payload is the heartbeat in msgpack, or a slice of it (`slices`) when it does not fit `MAX_DATAGRAM` bytes. A
release before slices cut the bytes instead, and still waits for all of them. It is understood, and answered in its own
way: while one of the peers is of such a release, long heartbeats are sent like that.
Sealed, the payload is encrypted with ChaCha20-Poly1305 and the trailer is its tag; header and name are the
associated data, so that no byte of a datagram can be changed. With `insecure: true` the payload is plain
and the trailer a CRC-32 of all before it, which finds damage and stops nobody.

Keys. Each life of each node seals with a key of its own: node key = HKDF-SHA256(cluster key; cluster,
node), life key = BLAKE2b keyed with the node key, of the boot id. Two steps because the first (8 us) is
done once per node and only the second (1.4 us) for a boot id never seen before, which an attacker can
invent in every datagram. The ring may hold several keys: the first seals, all open, and the key id in the
header (a hash) says which one to use.

A nonce never repeats. The nonce is (seq, part). For one key, that is for one (cluster key, cluster, node,
boot):
1. `seq` increases with every heartbeat of a life; `Sealer` refuses one that does not, rather than trusting
   the core.
2. `part` differs between the slices of one heartbeat.
3. A boot id is 64 random bits drawn at every start, so another life has another key.
A second process that speaks for a life (the last words of a dead agent) must use seqs far above those of
the agent.

Replay. Opening the same datagram twice succeeds: the core reads each slice of the newest `seq` of a life once
and ignores the rest, and a recorded heartbeat of an *earlier* life echoes nothing that the receiver has sent lately, so
that life never counts as alive. What is done here is only to recognise the receiver's own datagrams coming
back.

Cost under hostile input. The checks run in order of price: up to 4 us before cryptography, 6 us for a tag
that does not fit, 9 us with an invented boot id, 12 us for a replay, which is what a genuine heartbeat
costs. A stranger without the key gets nothing stored or cached. The keys of lives are cached, newest use
first, a bounded number. Every refusal raises `Rejected` with a `Cause` that somebody counts.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import OrderedDict
from collections.abc import Collection

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from haagent.core import slices
from haagent.core.limits import MAX_PARTS
from haagent.core.meaning import Meaningful
from haagent.core.messages import SLICED_VERSION, WIRE_VERSION, Heartbeat, is_well_formed

MAX_DATAGRAM = 1200  # bytes of UDP payload: fits 1280, the least MTU of IPv6, so that it is never split
LONGEST_DATAGRAM = 24576  # with one thing in it that is longer than that: a group of hundreds of addresses
KEPT_LIVES = 4  # cached keys for each node and key of the ring
MAGIC = b"ha"
PLAIN, SEALED = 0, 1
TAG_BYTES, CRC_BYTES = 16, 4


class Field(msgspec.Struct, frozen=True):
    name: str
    format: str  # of `struct`, big-endian
    meaning: str


HEADER = (
    Field("magic", "2s", "`ha`"),
    Field("version", "B", "1 a whole heartbeat, 2 a slice of one; others are dropped. A field appended to it keeps it"),
    Field("mode", "B", "1 sealed, 0 plain (`insecure: true`)"),
    Field("key id", "4s", "first bytes of SHA-256(`haagent key id`, key); zero when plain"),
    Field("cluster id", "8s", "first bytes of SHA-256(cluster name)"),
    Field("boot", "Q", "the sender's life: random, new at every start"),
    Field("seq", "Q", "of the heartbeat, increasing within a life"),
    Field("part", "H", "which slice of the heartbeat, from 0"),
    Field("parts", "H", "how many slices it has"),
    Field("name length", "B", "bytes of the sender's name, which follows in UTF-8"),
)
_HEADER = struct.Struct(">" + "".join(field.format for field in HEADER))
_NONCE = struct.Struct(">QI")
_CRC = struct.Struct(">I")
_NO_KEY = bytes(4)


class Cause(Meaningful):
    """Why a datagram was rejected. The value is the name of the counter."""

    OVERSIZED = "oversized", f"longer than {LONGEST_DATAGRAM} bytes"
    MALFORMED = "malformed", "too short, or the header makes no sense: not from an agent"
    VERSION = "version", "another version of the datagram layout: that node's release is too old or too new"
    FOREIGN = "foreign", "of another cluster on the same group and port"
    UNKNOWN_NODE = "unknown_node", "the sender's name is not among the configured nodes"
    OWN = "own", "this node's own datagram came back"
    TWIN = "twin", "this node's name, another life: a replay, or another host uses the same name"
    PLAINTEXT = "plaintext", "the sender has `insecure: true`, this node does not"
    UNKNOWN_KEY = "unknown_key", "sealed with a key that is not in this node's `key_file`"
    AUTH = "auth", "the seal does not fit: forged, damaged or a different key"
    DECODE = "decode", "authentic, but not a heartbeat"
    MISMATCH = "mismatch", "authentic, but header and content disagree"
    INVALID = "invalid", "authentic, but breaks the bounds of a heartbeat"


class Rejected(Exception):
    """An outcome, not an error of ours."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class Header(msgspec.Struct, frozen=True):
    """What the header says of a datagram that passed the cheap checks. `size` includes the name."""

    node: str
    key_id: bytes
    boot: int
    seq: int
    part: int
    parts: int
    size: int
    is_slice: bool


def cluster_id(cluster: str) -> bytes:
    return hashlib.sha256(cluster.encode()).digest()[:8]


def key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"haagent key id" + key).digest()[:4]


def _node_key(key: bytes, cluster: str, node: str) -> bytes:
    # A length goes before each name: ("ab", "c") and ("a", "bc") are different nodes.
    info = b"".join(len(text).to_bytes(2, "big") + text for text in (cluster.encode(), node.encode()))
    return HKDF(SHA256(), 32, b"haagent heartbeat 1", info).derive(key)


def _life_cipher(node_key: bytes, boot: int) -> ChaCha20Poly1305:
    life_key = hashlib.blake2b(boot.to_bytes(8, "big"), key=node_key, digest_size=32, person=b"haagent life")
    return ChaCha20Poly1305(life_key.digest())


class Sealer:
    """Seals the heartbeats of one life of one node. No keys: plain, for labs. `older`: who does not read slices."""

    def __init__(
        self, *, keys: tuple[bytes, ...], cluster: str, node: str, boot: int, older: Collection[str] = ()
    ) -> None:
        self._cluster, self._node, self._boot, self._older = cluster, node, boot, older
        self._name = node.encode()
        if not 0 < len(self._name) < 256 or not 0 < boot < 2**64:
            raise ValueError(f"node name {node!r} must have 1 to 255 bytes, boot {boot} 1 to 64 bits")
        self._encoder = msgspec.msgpack.Encoder()
        self._last_seq = 0
        self.rekey(keys)

    def rekey(self, keys: tuple[bytes, ...]) -> None:
        """Seal with the first of `keys` from now on: a rotation that keeps the life and its sequence."""
        self._cipher: ChaCha20Poly1305 | None = None
        mode, key, trailer = PLAIN, _NO_KEY, CRC_BYTES
        if keys:
            self._cipher = _life_cipher(_node_key(keys[0], self._cluster, self._node), self._boot)
            mode, key, trailer = SEALED, key_id(keys[0]), TAG_BYTES
        self._fixed = (mode, key, cluster_id(self._cluster), self._boot)
        self._room = MAX_DATAGRAM - _HEADER.size - len(self._name) - trailer

    def seal(self, beat: Heartbeat) -> list[bytes]:
        """The datagrams of `beat`, in sending order, each to be sent over every link."""
        if (beat.cluster, beat.node, beat.boot) != (self._cluster, self._node, self._boot):
            raise ValueError(f"the heartbeat of {beat.cluster}/{beat.node} life {beat.boot} is not ours to seal")
        if beat.seq <= self._last_seq:
            raise ValueError(f"seq {beat.seq} after {self._last_seq}: a nonce would repeat")
        version, payloads = WIRE_VERSION, [self._encoder.encode(beat)]
        if len(payloads[0]) > self._room and self._older:
            whole = payloads[0]
            payloads = [whole[at : at + self._room] for at in range(0, len(whole), self._room)]
        elif len(payloads[0]) > self._room:
            version = SLICED_VERSION
            payloads = [self._encoder.encode(one) for one in slices.cut(beat, self._room)]
        if len(payloads) > MAX_PARTS:
            raise ValueError(f"a view that needs more than {MAX_PARTS} datagrams")
        self._last_seq = beat.seq
        return [
            self._datagram(version, beat.seq, part, len(payloads), payload) for part, payload in enumerate(payloads)
        ]

    def _datagram(self, version: int, seq: int, part: int, parts: int, payload: bytes) -> bytes:
        header = _HEADER.pack(MAGIC, version, *self._fixed, seq, part, parts, len(self._name)) + self._name
        if self._cipher:
            return header + self._cipher.encrypt(_NONCE.pack(seq, part), payload, header)
        return header + payload + _CRC.pack(zlib.crc32(header + payload))


class Opener:
    """Opens the datagrams of the other nodes. `boot`: this node's own life, 0 if the caller does not care.
    `form`: a kind of heartbeat that says more, where that is to be read."""

    def __init__(
        self,
        *,
        keys: tuple[bytes, ...],
        cluster: str,
        node: str,
        nodes: frozenset[str],
        boot: int = 0,
        form: type[Heartbeat] = Heartbeat,
    ) -> None:
        self._cluster, self._node, self._boot = cluster, node, boot
        self._cluster_id = cluster_id(cluster)
        self._names = {name.encode(): name for name in nodes | {node}}
        self._is_sealed = bool(keys)
        self._key_ids = frozenset(key_id(key) for key in keys)
        self._node_keys = {
            (key_id(key), name): _node_key(key, cluster, name) for key in keys for name in nodes - {node}
        }
        self._ciphers: OrderedDict[tuple[bytes, str, int], ChaCha20Poly1305] = OrderedDict()
        self._kept_ciphers = KEPT_LIVES * len(self._node_keys)
        self._decoder = msgspec.msgpack.Decoder(form)
        self._begun: dict[str, tuple[Header, list[bytes]]] = {}  # per node: what it began to say in pieces

    def open(self, datagram: bytes) -> Heartbeat | None:
        """The heartbeat, or a slice of it; None for a piece that waits for others; `Rejected` when it is neither."""
        header = self._header(datagram)
        payload = self._unsealed(datagram, header) if self._is_sealed else self._checked(datagram, header)
        if not header.is_slice and header.parts > 1:
            return self._join(payload, header)
        return self._beat(payload, header)

    def _header(self, datagram: bytes) -> Header:
        """All that can be refused without cryptography, cheapest and most common first."""
        if len(datagram) > LONGEST_DATAGRAM:
            raise Rejected(Cause.OVERSIZED)
        if len(datagram) < _HEADER.size:
            raise Rejected(Cause.MALFORMED)
        magic, version, mode, key, cluster, boot, seq, part, parts, length = _HEADER.unpack_from(datagram)
        if magic != MAGIC:
            raise Rejected(Cause.MALFORMED)
        if version not in (WIRE_VERSION, SLICED_VERSION):
            raise Rejected(Cause.VERSION)
        if cluster != self._cluster_id:
            raise Rejected(Cause.FOREIGN)
        size = _HEADER.size + length
        trailer = TAG_BYTES if mode == SEALED else CRC_BYTES
        if mode > SEALED or not part < parts <= MAX_PARTS or len(datagram) < size + trailer:
            raise Rejected(Cause.MALFORMED)
        node = self._names.get(datagram[_HEADER.size : size])
        if node is None:
            raise Rejected(Cause.UNKNOWN_NODE)
        if node == self._node:
            raise Rejected(Cause.OWN if boot == self._boot or not self._boot else Cause.TWIN)
        if mode == PLAIN and self._is_sealed:
            raise Rejected(Cause.PLAINTEXT)
        if mode == SEALED and key not in self._key_ids:
            raise Rejected(Cause.UNKNOWN_KEY)
        return Header(node, key, boot, seq, part, parts, size, version == SLICED_VERSION)

    def _unsealed(self, datagram: bytes, header: Header) -> bytes:
        life = (header.key_id, header.node, header.boot)
        known = self._ciphers.get(life)
        cipher = known or _life_cipher(self._node_keys[header.key_id, header.node], header.boot)
        nonce = _NONCE.pack(header.seq, header.part)
        try:
            payload = cipher.decrypt(nonce, datagram[header.size :], datagram[: header.size])
        except InvalidTag:
            raise Rejected(Cause.AUTH) from None
        if known:
            self._ciphers.move_to_end(life)
        else:  # cached only now: a forged boot id cannot push out the key of a real life
            self._ciphers[life] = cipher
            if len(self._ciphers) > self._kept_ciphers:
                self._ciphers.popitem(last=False)
        return payload

    def _checked(self, datagram: bytes, header: Header) -> bytes:
        if zlib.crc32(datagram[:-CRC_BYTES]) != _CRC.unpack(datagram[-CRC_BYTES:])[0]:
            raise Rejected(Cause.AUTH)
        return datagram[header.size : -CRC_BYTES]

    def _join(self, payload: bytes, header: Header) -> Heartbeat | None:
        """Of a release before slices: the pieces of one heartbeat, in order. Of each node one heartbeat is kept."""
        begun, payloads = self._begun.get(header.node, (header, []))
        if (begun.boot, begun.seq, begun.parts) != (header.boot, header.seq, header.parts):
            begun, payloads = header, []
        self._begun[header.node] = begun, payloads
        if header.part == len(payloads) and len(payload) < MAX_DATAGRAM:
            payloads.append(payload)
        if len(payloads) < header.parts:
            return None
        del self._begun[header.node]
        return self._beat(b"".join(payloads), header)

    def _beat(self, payload: bytes, header: Header) -> Heartbeat:
        try:
            beat = self._decoder.decode(payload)
        except (ValueError, RecursionError):  # msgspec's own errors and bad UTF-8 are ValueErrors
            raise Rejected(Cause.DECODE) from None
        is_same_sender = beat.cluster == self._cluster and beat.node == header.node
        slice_ = (header.part, header.parts) if header.is_slice else (0, min(beat.parts, 1))
        if not is_same_sender or (beat.boot, beat.seq, beat.part, beat.parts) != (header.boot, header.seq, *slice_):
            raise Rejected(Cause.MISMATCH)
        if not is_well_formed(beat):
            raise Rejected(Cause.INVALID)
        return beat
