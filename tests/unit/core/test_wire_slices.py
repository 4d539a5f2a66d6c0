"""Datagrams of a long heartbeat: slices, what is lost with one, and the pieces of a release before slices."""

from __future__ import annotations

import random
from collections.abc import Collection

import msgspec
import pytest

from haagent.core import limits, wire
from haagent.core.messages import (
    SLICED_VERSION,
    Accepted,
    Agreed,
    Ballot,
    GroupBeat,
    Heard,
    Heartbeat,
    Order,
    Record,
)
from haagent.core.wire import Cause
from tests.unit.core.test_wire import BOOT, a_beat, cause_of, forge, opener, sealer, together


def large(seq: int) -> Heartbeat:
    return a_beat(seq, groups=40)


def names_in(beat: Heartbeat | None) -> set[str]:
    return set() if beat is None else {group.name for group in beat.groups}


def test_a_lost_slice_costs_what_was_in_it() -> None:
    sealing, opening = sealer(), opener()
    first, second, *rest = [opening.open(datagram) for datagram in sealing.seal(large(1))]
    assert first is not None
    assert second is not None
    assert (first.heard, first.lease_ms, first.parts) == (large(1).heard, 350, 2 + len(rest))
    heard = set().union(*map(names_in, (first, *rest)))
    assert names_in(large(1)) - heard == names_in(second) != set()


def share_lost(*, older: Collection[str], loss: float = 0.02, beats: int = 200) -> float:
    """Of the views of 128 groups, with so many of the datagrams lost."""
    dice, sealing, opening, heard = random.Random("loss"), sealer(older=older), opener(), 0
    for seq in range(1, beats + 1):
        arrived = [datagram for datagram in sealing.seal(a_view(seq)) if dice.random() >= loss]
        heard += sum(len(names_in(opening.open(datagram))) for datagram in arrived)
    return 1 - heard / (beats * limits.MAX_GROUPS)


def a_view(seq: int) -> Heartbeat:
    """As large as a configuration may make it: every group votes, and every second one is held here."""
    groups = tuple(
        GroupBeat(
            f"g{number:03}",
            promised=Ballot(1000 + number, "A"),
            accepted=Accepted(Ballot(1000 + number, "A"), BOOT, 10**5),
            claim=(ballot := Ballot(1000 + number, "A") if number % 2 else None),
            tenure=ballot,
            cause="nobody held it and this node is the first choice" if ballot else "",
        )
        for number in range(limits.MAX_GROUPS)
    )
    return msgspec.structs.replace(a_beat(seq), groups=groups)


def test_of_many_groups_as_much_is_lost_as_of_the_datagrams() -> None:
    assert 0.01 < share_lost(older=()) < 0.03
    assert share_lost(older={"C"}) > 0.15, "a release before slices loses the whole heartbeat with any piece of it"


@pytest.mark.parametrize("change", [{"part": 2}, {"parts": 9}, {"parts": 0}])
def test_a_slice_is_the_one_that_its_header_names(change: dict[str, int]) -> None:
    one = msgspec.structs.replace(a_beat(), part=1, parts=3)
    payload, lie = msgspec.msgpack.encode(one), msgspec.msgpack.encode(msgspec.structs.replace(one, **change))
    assert opener().open(forge(payload, version=SLICED_VERSION, part=1, parts=3)) == one
    assert cause_of(opener(), forge(lie, version=SLICED_VERSION, part=1, parts=3)) == Cause.MISMATCH
    assert cause_of(opener(), forge(payload)) == Cause.MISMATCH, "no slice where a whole heartbeat should be"


class TestReleasesBeforeSlices:
    """They cut the bytes of a heartbeat."""

    def test_two_links_complete_each_other_and_are_both_credited(self) -> None:
        pieces, opening = sealer(older={"B"}).seal(large(1)), opener()
        assert len(pieces) == 4
        opened = [opening.open(pieces[number]) for number in (0, 0, 2, 1, 3, 2, 3, 0, 1, 2, 3)]
        assert opened == [None] * 6 + [large(1)] + [None] * 3 + [large(1)]
        assert not opening._begun

    def test_a_missing_piece_costs_its_heartbeat(self) -> None:
        sealing, opening = sealer(older={"B"}), opener()
        incomplete = sealing.seal(large(1))
        assert [opening.open(datagram) for datagram in incomplete[1:]] == [None] * 3
        assert [opening.open(datagram) for datagram in sealing.seal(large(2))][-1] == large(2)

    def test_a_stranger_cannot_begin_one_or_push_out_keys(self) -> None:
        pieces, opening = sealer(older={"B"}).seal(large(1)), opener()
        assert opening.open(pieces[0]) is None
        ciphers = dict(opening._ciphers)
        for boot in range(1, 500):  # forged lives, forged pieces
            forged = pieces[0][:16] + boot.to_bytes(8, "big") + pieces[0][24:]
            assert cause_of(opening, forged) == Cause.AUTH
            assert cause_of(opening, pieces[0][:24] + (1 + boot).to_bytes(8, "big") + pieces[0][32:]) == Cause.AUTH
        assert dict(opening._ciphers) == ciphers
        assert [opening.open(datagram) for datagram in pieces[1:]][-1] == large(1)

    def test_memory_is_constant_whatever_members_send(self) -> None:
        opening = opener()
        for boot in range(1, 60):
            sealing = sealer(boot=boot, older={"B"})
            for seq in range(1, 6):
                beat = msgspec.structs.replace(large(seq), boot=boot)
                assert opening.open(sealing.seal(beat)[0]) is None
        assert [len(payloads) for _, payloads in opening._begun.values()] == [1]
        opening.open(forge(bytes(wire.MAX_DATAGRAM), parts=limits.MAX_PARTS))
        assert [payloads for _, payloads in opening._begun.values()] == [[]], "no release has sent one as long as that"
        assert len(opening._ciphers) <= wire.KEPT_LIVES * 2  # two peers, one key


def test_the_largest_view_of_the_limits_fits() -> None:
    """Every name and text at full length, every group and order present; texts are free, names are ASCII."""
    name, text = "n" * limits.MAX_NAME, "\u4e00" * limits.MAX_TEXT
    ballot = Ballot(limits.MAX_ROUND, name)
    heard = {f"{n:064}": Heard(2**63, 2**63, 2**63) for n in range(limits.MAX_NODES)}
    voters = tuple(sorted(heard))
    orders = limits.MAX_ORDERS
    beat = msgspec.structs.replace(
        a_beat(),
        heard=heard,
        recorded=heard,
        doubled={node: (Heard(2**63, 2**63, 2**63),) * limits.MAX_TWINS for node in heard},
        agreed=Agreed(ballot, limits.MAX_ROUND, voters),
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
                addresses=(2**63,) * (0 if number else limits.MAX_ADDRESSES),
                cause=text,
            )
            for number in range(limits.MAX_GROUPS + 1)
        ),
        orders=tuple(
            Order("standby/" + name, limits.MAX_ROUND, name, target=name, ballot=ballot) for _ in range(orders)
        ),
        records=tuple(Record(2**63, 1e9, name, name, text) for _ in range(limits.RECORDS_PER_BEAT)),
    )
    datagrams = sealer().seal(beat)
    assert max(map(len, datagrams)) <= wire.LONGEST_DATAGRAM
    opened = [opener().open(datagram) for datagram in datagrams]
    assert together(opened) == msgspec.structs.replace(beat, records=beat.records[:1], recorded={})
    assert {name: each for one in opened if one is not None for name, each in one.recorded.items()} == heard


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
