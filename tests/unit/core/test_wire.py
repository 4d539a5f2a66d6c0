"""The wire from outside: what was sealed opens, and whatever else arrives is dropped for the right reason."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haagent.core import fragments, limits, wire
from haagent.core.messages import (
    WIRE_VERSION,
    Accepted,
    Ballot,
    GroupBeat,
    Heard,
    Heartbeat,
    Order,
    Record,
)
from haagent.core.wire import Cause, Opener, Rejected, Sealer

KEY, OLD_KEY, STRANGE_KEY = b"k" * 32, b"o" * 32, b"s" * 32
NODES = frozenset({"A", "B", "C"})
BOOT = 0x0123456789ABCDEF


def sealer(node: str = "A", *, keys: tuple[bytes, ...] = (KEY,), cluster: str = "shop", boot: int = BOOT) -> Sealer:
    return Sealer(keys=keys, cluster=cluster, node=node, boot=boot)


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
    gap_ms=st.floats(allow_nan=False),
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
)


@settings(max_examples=60, deadline=None)
@given(beat=beats, keys=st.sampled_from([(KEY,), ()]), shuffled=st.randoms(use_true_random=False))
def test_what_was_sealed_opens_in_any_order(beat: Heartbeat, keys: tuple[bytes, ...], shuffled: random.Random) -> None:
    datagrams = sealer(keys=keys).seal(beat)
    assert all(len(datagram) <= wire.MAX_DATAGRAM for datagram in datagrams)
    shuffled.shuffle(datagrams)
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


def forge(payload: bytes, *, seq: int = 1, part: int = 0, parts: int = 1) -> bytes:
    """Sealed by somebody who has the key and no manners."""
    return sealer()._datagram(seq, part, parts, payload)


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
                assert cause not in {Cause.DECODE, Cause.MISMATCH, Cause.INVALID, Cause.STALE}
    assert opening.open(datagram) == a_beat()


@pytest.mark.parametrize("keys", [(KEY,), ()], ids=["sealed", "plain"])
def test_truncated_at_every_length(keys: tuple[bytes, ...]) -> None:
    datagram = sealer(keys=keys).seal(a_beat())[0]
    for length in range(len(datagram)):
        assert cause_of(opener(keys=keys), datagram[:length]) in {Cause.MALFORMED, Cause.AUTH, Cause.UNKNOWN_NODE}
    assert cause_of(opener(keys=keys), datagram + b"\0") == Cause.AUTH


def test_cheap_refusals() -> None:
    datagram = sealer().seal(a_beat())[0]
    assert cause_of(opener(), datagram + bytes(1200)) == Cause.OVERSIZED
    assert cause_of(opener(), b"") == Cause.MALFORMED
    assert cause_of(opener(), b"GET / HTTP/1.1\r\n" * 5) == Cause.MALFORMED
    assert cause_of(opener(), datagram[:2] + bytes([WIRE_VERSION + 1]) + datagram[3:]) == Cause.VERSION
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
    beat = msgspec.structs.replace(a_beat(), lease_ms=1)
    assert cause_of(opener(), forge(msgspec.msgpack.encode(beat))) == Cause.INVALID


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


def large(seq: int) -> Heartbeat:
    return a_beat(seq, groups=40)


def test_missing_fragments_cost_only_their_heartbeat() -> None:
    sealing, opening = sealer(), opener()
    assert len(sealing.seal(large(1))) > 2
    incomplete = sealing.seal(large(2))
    assert [opening.open(datagram) for datagram in incomplete[1:]] == [None] * (len(incomplete) - 1)
    assert opening.open(sealing.seal(a_beat(3))[0]) == a_beat(3)
    assert [opening.open(datagram) for datagram in sealing.seal(large(4))][-1] == large(4)
    assert cause_of(opening, incomplete[0]) == Cause.STALE


def test_two_links_complete_each_other_and_are_both_credited() -> None:
    sealing, opening = sealer(), opener()
    datagrams = sealing.seal(large(1))
    link_a, link_b = datagrams[:1] + datagrams[2:], datagrams[1:]
    opened = [opening.open(datagram) for datagram in link_a + link_b]
    assert opened == [None] * len(link_a) + [large(1)] + [None] * (len(link_b) - 2) + [large(1)]
    assert opening._fragments.stored == 0


def test_interleaved_heartbeats_of_two_nodes_and_two_seqs() -> None:
    from_a, from_c = sealer("A"), sealer("C")
    sent = [from_a.seal(large(1)), from_a.seal(large(2))]
    sent.append(from_c.seal(msgspec.structs.replace(large(1), node="C")))
    opening = opener()
    opened = [opening.open(datagram) for row in zip(*sent, strict=True) for datagram in row]
    assert [(beat.node, beat.seq) for beat in opened if beat] == [("A", 1), ("A", 2), ("C", 1)]


def test_fragments_that_disagree_on_their_number() -> None:
    opening = opener()
    assert opening.open(forge(b"x", part=0, parts=3)) is None
    assert cause_of(opening, forge(b"x", part=1, parts=4)) == Cause.MISMATCH


def test_a_stranger_cannot_fill_the_store_or_push_out_keys() -> None:
    sealing, opening = sealer(), opener()
    first, *rest = sealing.seal(large(1))
    assert opening.open(first) is None
    stored, ciphers = opening._fragments.stored, dict(opening._ciphers)
    for boot in range(1, 500):  # forged lives, forged fragments
        forged = first[:16] + boot.to_bytes(8, "big") + first[24:]
        assert cause_of(opening, forged) == Cause.AUTH
        assert cause_of(opening, first[:24] + (1 + boot).to_bytes(8, "big") + first[32:]) == Cause.AUTH
    assert (opening._fragments.stored, dict(opening._ciphers)) == (stored, ciphers)
    assert [opening.open(datagram) for datagram in rest][-1] == large(1)


def test_memory_is_constant_whatever_members_send() -> None:
    """Every life and every seq leaves a heartbeat incomplete: only the newest few of each node are kept."""
    opening = opener()
    one = len(sealer().seal(large(1))[0])
    for boot in range(1, 60):
        sealing = sealer(boot=boot)
        for seq in range(1, 6):
            beat = msgspec.structs.replace(large(seq), boot=boot)
            assert opening.open(sealing.seal(beat)[0]) is None
    assert opening._fragments.stored <= one * fragments.KEPT_SEQS * fragments.KEPT_LIVES
    assert len(opening._ciphers) <= wire.KEPT_LIVES * 2  # two peers, one key
    newest = sealer(boot=59)
    assert [opening.open(d) for d in newest.seal(msgspec.structs.replace(large(9), boot=59))][-1] is not None


def test_the_sum_of_all_fragments_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MAX_STORED", 50_000)
    opening = opener()
    for part in range(100):
        assert opening.open(forge(bytes(1000), part=part, parts=200)) is None
        assert opening._fragments.stored <= 50_000


def test_the_largest_view_of_the_limits_fits() -> None:
    """Every name and text at full length, every group and order present; texts are free, names are ASCII."""
    name, text = "n" * limits.MAX_NAME, "\u4e00" * limits.MAX_TEXT
    ballot = Ballot(limits.MAX_ROUND, name)
    heard = {f"{n:064}": Heard(2**63, 2**63) for n in range(limits.MAX_NODES)}
    orders = limits.MAX_NODES + 2 * limits.MAX_GROUPS + 1
    beat = msgspec.structs.replace(
        a_beat(),
        heard=heard,
        recorded=heard,
        groups=tuple(
            GroupBeat(
                name,
                ballot,
                Accepted(ballot, 2**63, 2**63),
                ballot,
                ballot,
                ballot,
                ballot,
                why_not=text,
                yield_to=name,
                addresses=(2**63,) * (limits.MAX_ADDRESSES // limits.MAX_GROUPS),
            )
            for _ in range(limits.MAX_GROUPS)
        ),
        orders=tuple(
            Order("standby/" + name, limits.MAX_ROUND, name, target=name, ballot=ballot) for _ in range(orders)
        ),
        records=tuple(Record(2**63, 1e9, name, name, text) for _ in range(limits.RECORDS_PER_BEAT)),
    )
    datagrams = sealer().seal(beat)
    opening = opener()
    assert [opening.open(datagram) for datagram in datagrams][-1] == beat
    assert len(datagrams) <= wire.MAX_PARTS


def test_a_common_view_is_one_datagram() -> None:
    beat = msgspec.structs.replace(
        a_beat(),
        heard={f"node{n}": Heard(2**63, 10**9) for n in range(2)},
        groups=tuple(
            GroupBeat(f"web{n}", accepted=Accepted(Ballot(9, "node1"), 2**63, 10**9), claim=Ballot(9, "node1"))
            for n in range(4)
        ),
        records=tuple(Record(n, 1.7e9, "taken", "web1", "x" * 80) for n in range(limits.RECORDS_PER_BEAT)),
    )
    assert len(sealer().seal(beat)) == 1
