"""The wire from outside: what was sealed opens, and whatever else arrives is dropped for the right reason."""

from __future__ import annotations

import random
import zlib
from collections.abc import Collection, Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core import limits, wire
from haagent.core.messages import (
    SLICED_VERSION,
    WIRE_VERSION,
    Accepted,
    Ballot,
    GroupBeat,
    Heard,
    Heartbeat,
    Order,
)
from haagent.core.wire import Cause, Opener, Rejected, Sealer

KEY, OLD_KEY, STRANGE_KEY = b"k" * 32, b"o" * 32, b"s" * 32
NODES = frozenset({"A", "B", "C"})
BOOT = 0x0123456789ABCDEF


def sealer(
    node: str = "A",
    *,
    keys: tuple[bytes, ...] = (KEY,),
    cluster: str = "shop",
    boot: int = BOOT,
    older: Collection[str] = (),
) -> Sealer:
    return Sealer(keys=keys, cluster=cluster, node=node, boot=boot, older=older)


def opener(*, keys: tuple[bytes, ...] = (KEY,), cluster: str = "shop", node: str = "B", boot: int = 0) -> Opener:
    return Opener(keys=keys, cluster=cluster, node=node, nodes=NODES, boot=boot)


def a_beat(seq: int = 1, *, groups: int = 1, node: str = "A", boot: int = BOOT, cluster: str = "shop") -> Heartbeat:
    return Heartbeat(
        cluster=cluster,
        node=node,
        boot=boot,
        seq=seq,
        interval_ms=100,
        lease_ms=350,
        heard={"B": Heard(7, 8)},
        groups=tuple(GroupBeat(name=f"group{n}", claim=Ballot(n, "A"), why_not="x" * 40) for n in range(groups)),
        parts=1,
    )


def together(opened: Iterable[Heartbeat | None]) -> Heartbeat:
    """What a receiver knows that has heard all of these slices."""
    said = sorted((beat for beat in opened if beat is not None), key=lambda beat: beat.part)
    assert [beat.part for beat in said] == list(range(said[0].parts))
    return msgspec.structs.replace(
        said[0],
        **{
            name: tuple(each for beat in said for each in getattr(beat, name))
            for name in ("groups", "orders", "records")
        },
        heard={name: heard for beat in said for name, heard in beat.heard.items()},
        part=0,
        parts=1,
    )


def cause_of(opening: Opener, datagram: bytes) -> Cause:
    with pytest.raises(Rejected) as caught:
        opening.open(datagram)
    return caught.value.cause


names = st.text(min_size=1, max_size=limits.MAX_NAME)
counts = st.integers(min_value=0, max_value=2**63)
rounds = st.integers(min_value=0, max_value=limits.MAX_ROUND)
ballots = st.builds(Ballot, round=rounds, node=names)
maybe = st.none() | ballots
groups_of_a_beat = st.builds(
    GroupBeat,
    name=names,
    promised=maybe,
    accepted=st.none() | st.builds(Accepted, ballot=ballots, boot=counts, seq=counts),
    want=maybe,
    claim=maybe,
    released=maybe,
    tenure=maybe,
    active=st.booleans(),
    why_not=st.text(max_size=limits.MAX_TEXT),
    gap_ms=st.floats(allow_nan=False, allow_infinity=False),
)
beats = st.builds(
    Heartbeat,
    cluster=st.just("shop"),
    node=st.just("A"),
    boot=st.just(BOOT),
    seq=st.integers(min_value=1, max_value=2**64 - 1),
    interval_ms=st.just(100),
    lease_ms=st.just(350),
    standby=st.booleans(),
    heard=st.dictionaries(names, st.builds(Heard, boot=counts, seq=counts), max_size=5),
    groups=st.lists(groups_of_a_beat, max_size=12).map(tuple),
    orders=st.lists(st.builds(Order, key=names, version=rounds.filter(bool), writer=names), max_size=4).map(tuple),
    gateway=st.none() | st.booleans(),
    parts=st.just(1),
)


@settings(max_examples=60, deadline=None)
@given(beat=beats, keys=st.sampled_from([(KEY,), ()]), shuffled=st.randoms(use_true_random=False))
def test_what_was_sealed_opens_in_any_order(beat: Heartbeat, keys: tuple[bytes, ...], shuffled: random.Random) -> None:
    datagrams = sealer(keys=keys).seal(beat)
    shuffled.shuffle(datagrams)
    opened = [opener(keys=keys).open(datagram) for datagram in datagrams]
    assert together(opened) == beat
    for datagram, one in zip(datagrams, opened, strict=True):
        assert one is not None
        longest = wire.MAX_DATAGRAM if len(one.groups) + len(one.orders) > 1 else wire.LONGEST_DATAGRAM
        assert len(datagram) <= longest, "only one thing that is itself too long may make it longer"


@settings(max_examples=60, deadline=None)
@given(beat=beats, keys=st.sampled_from([(KEY,), ()]))
def test_what_was_sealed_for_a_release_before_slices_opens_whole(beat: Heartbeat, keys: tuple[bytes, ...]) -> None:
    datagrams = sealer(keys=keys, older={"C"}).seal(beat)
    assert all(len(datagram) <= wire.MAX_DATAGRAM for datagram in datagrams)
    opening = opener(keys=keys)
    assert [opening.open(datagram) for datagram in datagrams] == [None] * (len(datagrams) - 1) + [beat]


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=1300), prefix=st.integers(min_value=0, max_value=60))
def test_junk_is_dropped_and_never_raises_anything_else(junk: bytes, prefix: int) -> None:
    genuine = sealer(keys=()).seal(a_beat())[0]
    for keys in ((KEY,), ()):
        for datagram in (junk, genuine[:prefix] + junk):
            with pytest.raises(Rejected):
                opener(keys=keys).open(datagram)


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=300), head=st.integers(min_value=0, max_value=80))
def test_authentic_junk_is_dropped_too(junk: bytes, head: int) -> None:
    """A member with the key may still be broken, or hostile in insecure mode."""
    payload = msgspec.msgpack.encode(a_beat())
    datagram = forge(payload[:head] + junk)
    try:
        opener().open(datagram)
    except Rejected as dropped:
        assert dropped.cause in {Cause.DECODE, Cause.MISMATCH, Cause.INVALID}  # noqa: PT017 - it may also open


def forge(payload: bytes, *, version: int = WIRE_VERSION, part: int = 0, parts: int = 1) -> bytes:
    """Sealed by somebody who has the key and no manners."""
    return sealer()._datagram(version, 1, part, parts, payload)


def test_a_bomb_of_nested_arrays_is_dropped() -> None:
    payload = msgspec.msgpack.encode(a_beat())
    count = payload[0:3]
    assert count[0] == 0xDC  # array 16
    longer = bytes([0xDC]) + (int.from_bytes(count[1:], "big") + 1).to_bytes(2, "big")
    assert cause_of(opener(), forge(longer + payload[3:] + b"\x91" * 1000)) == Cause.DECODE
    assert cause_of(opener(), forge(b"\xdd\xff\xff\xff\xff")) == Cause.DECODE


def crc_fixed(datagram: bytes) -> bytes:
    return datagram[:-4] + zlib.crc32(datagram[:-4]).to_bytes(4, "big")


@pytest.mark.parametrize("keys", [(KEY,), ()], ids=["sealed", "plain"])
def test_every_flipped_byte_is_noticed(keys: tuple[bytes, ...]) -> None:
    datagram = sealer(keys=keys).seal(a_beat())[0]
    opening = opener(keys=keys)
    header = 37 + 1
    for index in range(len(datagram)):
        for bit in (0x01, 0x80):
            changed = bytearray(datagram)
            changed[index] ^= bit
            cause = cause_of(opening, bytes(changed))
            if index >= header or 16 <= index < 32:  # boot, seq and all that is sealed
                assert cause == Cause.AUTH
            elif index >= 34:  # the number of parts, and the name with its length
                assert cause in {Cause.AUTH, Cause.MALFORMED, Cause.UNKNOWN_NODE, Cause.OWN, Cause.TWIN}
            elif index >= 32:
                assert cause == Cause.MALFORMED  # part 1 of 1
            else:
                expected = [Cause.MALFORMED] * 2 + [Cause.VERSION, None] + [None] * 4 + [Cause.FOREIGN] * 8
                assert cause == (expected[index] or cause)
                assert cause not in {Cause.DECODE, Cause.MISMATCH, Cause.INVALID}
    assert opening.open(datagram) == a_beat()


@pytest.mark.parametrize("keys", [(KEY,), ()], ids=["sealed", "plain"])
def test_truncated_at_every_length(keys: tuple[bytes, ...]) -> None:
    datagram = sealer(keys=keys).seal(a_beat())[0]
    for length in range(len(datagram)):
        assert cause_of(opener(keys=keys), datagram[:length]) in {Cause.MALFORMED, Cause.AUTH, Cause.UNKNOWN_NODE}
    assert cause_of(opener(keys=keys), datagram + b"\0") == Cause.AUTH


def test_cheap_refusals() -> None:
    datagram = sealer().seal(a_beat())[0]
    assert cause_of(opener(), datagram + bytes(wire.LONGEST_DATAGRAM)) == Cause.OVERSIZED
    assert cause_of(opener(), b"") == Cause.MALFORMED
    assert cause_of(opener(), b"GET / HTTP/1.1\r\n" * 5) == Cause.MALFORMED
    assert cause_of(opener(), datagram[:2] + bytes([SLICED_VERSION + 1]) + datagram[3:]) == Cause.VERSION
    assert cause_of(opener(cluster="other"), datagram) == Cause.FOREIGN
    stranger = sealer("Z").seal(a_beat(node="Z"))[0]
    assert cause_of(opener(), stranger) == Cause.UNKNOWN_NODE


def test_same_key_other_cluster_name_does_not_authenticate() -> None:
    """The cluster id in the header is a convenience; the seal itself depends on the cluster."""
    datagram = sealer(cluster="other").seal(a_beat(cluster="other"))[0]
    renamed = datagram[:8] + wire.cluster_id("shop") + datagram[16:]
    assert cause_of(opener(), renamed) == Cause.AUTH


def test_own_reflection_and_twin() -> None:
    mine = sealer("B").seal(a_beat(node="B"))[0]
    assert cause_of(opener(boot=BOOT), mine) == Cause.OWN
    assert cause_of(opener(boot=0), mine) == Cause.OWN
    assert cause_of(opener(boot=BOOT + 1), mine) == Cause.TWIN


def test_keys() -> None:
    datagram = sealer().seal(a_beat())[0]
    assert cause_of(opener(keys=(STRANGE_KEY,)), datagram) == Cause.UNKNOWN_KEY
    relabelled = datagram[:4] + wire.key_id(STRANGE_KEY) + datagram[8:]
    assert cause_of(opener(keys=(STRANGE_KEY,)), relabelled) == Cause.AUTH
    assert cause_of(opener(), sealer(keys=()).seal(a_beat())[0]) == Cause.PLAINTEXT
    assert cause_of(opener(keys=()), datagram) == Cause.UNKNOWN_KEY


def test_rotation_loses_no_heartbeat() -> None:
    """Add the new key second everywhere, swap, remove the old one: at each step all nodes understand each other."""
    steps = [(OLD_KEY,), (OLD_KEY, KEY), (KEY, OLD_KEY), (KEY,)]
    for before, after in pairwise(steps):
        for sealing, opening in ((before, after), (after, before)):
            assert opener(keys=opening).open(sealer(keys=sealing).seal(a_beat())[0]) == a_beat()
    sealing = sealer(keys=steps[1])
    first = sealing.seal(a_beat(1))[0]
    sealing.rekey(steps[2])
    second = sealing.seal(a_beat(2))[0]
    assert first[4:8] == wire.key_id(OLD_KEY)
    assert second[4:8] == wire.key_id(KEY)
    with pytest.raises(ValueError, match="nonce would repeat"):
        sealing.seal(a_beat(2))


def test_a_sealer_refuses_what_would_repeat_a_nonce_or_lie() -> None:
    sealing = sealer()
    sealing.seal(a_beat(5))
    for beat in (a_beat(5), a_beat(4), a_beat(6, boot=1), a_beat(6, node="B"), a_beat(6, cluster="x")):
        with pytest.raises(ValueError, match=r"seq|is not ours"):
            sealing.seal(beat)
    with pytest.raises(ValueError, match="boot"):
        sealer(boot=0)


def test_lives_and_nodes_have_different_keys() -> None:
    """A datagram moved to another life, node, seq or part does not open: all are bound into key, nonce and seal."""
    datagram = sealer().seal(a_beat())[0]
    for start, end, value in ((16, 24, 5), (24, 32, 9)):
        moved = datagram[:start] + value.to_bytes(end - start, "big") + datagram[end:]
        assert cause_of(opener(), moved) == Cause.AUTH
    assert cause_of(opener(), datagram[:37] + b"C" + datagram[38:]) == Cause.AUTH


@pytest.mark.parametrize(
    "lie", [{"seq": 2}, {"boot": 5}, {"node": "C"}, {"cluster": "other"}], ids=lambda lie: next(iter(lie))
)
def test_header_and_content_must_agree(lie: dict[str, object]) -> None:
    beat = msgspec.structs.replace(a_beat(), **lie)
    assert cause_of(opener(), forge(msgspec.msgpack.encode(beat))) == Cause.MISMATCH


def test_bounds_of_a_heartbeat() -> None:
    for change in ({"lease_ms": 1}, {"seq": 0}, {"heard_lease_ms": -1}):
        beat = msgspec.structs.replace(a_beat(), **change)
        payload = msgspec.msgpack.encode(beat)
        assert cause_of(opener(), sealer()._datagram(WIRE_VERSION, beat.seq, 0, 1, payload)) == Cause.INVALID


def test_a_newer_sender_with_appended_fields_is_understood() -> None:
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(a_beat(groups=2)))
    raw[8][0].append({"new": ["field", 1, None]})
    raw += [7, {"more": [1, 2]}, None]
    assert opener().open(forge(msgspec.msgpack.encode(raw))) == a_beat(groups=2)


def test_an_older_sender_with_fewer_fields_is_understood() -> None:
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(a_beat()))
    opened = opener().open(forge(msgspec.msgpack.encode(raw[:9])))
    assert opened is not None
    assert (opened.groups, opened.records) == (a_beat().groups, ())
