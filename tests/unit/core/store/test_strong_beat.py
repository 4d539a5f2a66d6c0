"""What heartbeats say of the record of who may lead: sent, read, and refused when it is nonsense."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core import limits
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.store.strong.beat import StrongHeartbeat
from haagent.core.store.strong.record import Record, Said
from haagent.core.wire import Cause, Opener, Rejected, Sealer

KEY = b"k" * 32
BOOT = 77
OLD, NEW = Ballot(3, "B"), Ballot(5, "A")
RECORD = Record(NEW, 2, {"A": 2**64 - 1, "B": 12}, OLD)
SAID = Said(2**64 - 1, NEW, NEW, RECORD)


def a_beat(said: Said | None = SAID, *, groups: int = 1) -> StrongHeartbeat:
    named = tuple(GroupBeat(f"group-{number}", why_not="x" * 100) for number in range(groups))
    return StrongHeartbeat("shop", "A", BOOT, 1, 100, 1500, groups=named, said=said, parts=1)


def sealed(beat: Heartbeat) -> list[bytes]:
    return Sealer(keys=(KEY,), cluster="shop", node="A", boot=BOOT).seal(beat)


def opener(form: type[Heartbeat] = StrongHeartbeat) -> Opener:
    return Opener(keys=(KEY,), cluster="shop", node="B", nodes=frozenset("AB"), form=form)


@pytest.mark.parametrize(
    "said",
    [
        None,
        Said(),
        Said(life=1),
        SAID,
        Said(9, None, NEW, msgspec.structs.replace(RECORD, ballot=OLD)),
        Said(9, Ballot(3, "A"), NEW),
    ],
)
def test_what_is_said_arrives(said: Said | None) -> None:
    (datagram,) = sealed(a_beat(said))
    assert opener().open(datagram) == a_beat(said)


def test_each_slice_says_it() -> None:
    datagrams = sealed(a_beat(groups=40))
    assert len(datagrams) > 2
    opened = [opener().open(datagram) for datagram in datagrams]
    assert all(isinstance(beat, StrongHeartbeat) and beat.said == SAID for beat in opened)
    assert sum(len(beat.groups) for beat in opened if beat is not None) == 40


def test_who_keeps_sessions_in_another_way_reads_the_rest_and_is_read() -> None:
    plain = Heartbeat("shop", "A", BOOT, 1, 100, 1500, parts=1)
    (datagram,) = sealed(a_beat(groups=0))
    assert opener(Heartbeat).open(datagram) == plain
    assert type(opener(Heartbeat).open(datagram)) is Heartbeat
    (datagram,) = sealed(plain)
    assert opener().open(datagram) == a_beat(None, groups=0)


def test_it_keeps_its_place_on_the_wire() -> None:
    """A field appended to the heartbeat would take it, between releases that run side by side."""
    assert StrongHeartbeat.__struct_fields__.index("said") == 29


FULL = {f"node-{number}": 1 for number in range(limits.MAX_NODES)}


def record(**changes: object) -> Said:
    return msgspec.structs.replace(SAID, record=msgspec.structs.replace(RECORD, **changes))


@pytest.mark.parametrize(
    "said",
    [
        Said(life=-1),
        Said(promised=Ballot(-1, "A")),
        Said(promised=Ballot(limits.MAX_ROUND + 1, "A")),
        Said(promised=Ballot(1, "x" * (limits.MAX_NAME + 1))),
        Said(1, NEW),  # it obeys itself
        Said(1, NEW, OLD),
        Said(1, OLD, NEW),  # a lease of B
        Said(1, Ballot(-1, "A"), NEW),
        Said(1, None, None, RECORD),
        Said(1, None, OLD, RECORD),
        record(version=-1),
        record(version=limits.MAX_ROUND + 1),
        record(ballot=Ballot(3, "x" * (limits.MAX_NAME + 1))),
        record(since=Ballot(6, "A")),
        record(since=Ballot(-1, "A")),
        record(members={}),
        record(members={"A": 0}),
        record(members={"A": -5}),
        record(members={"": 5}),
        record(members={"x" * (limits.MAX_NAME + 1): 5}),
        record(members=FULL | {"one-more": 1}),
    ],
)
def test_nonsense_is_refused(said: Said) -> None:
    for datagram in sealed(a_beat(said)):
        with pytest.raises(Rejected) as refusal:
            opener().open(datagram)
        assert refusal.value.cause is Cause.INVALID


def test_as_many_members_as_there_may_be_nodes() -> None:
    said = record(members=FULL)
    opened = [opener().open(datagram) for datagram in sealed(a_beat(said))]
    assert all(isinstance(beat, StrongHeartbeat) and beat.said == said for beat in opened)


@pytest.mark.parametrize("said", [7, "A", {"A": 1}, [1, [5], None, None], [1, None, None, [[5, "A"], 1, [], 0]]])
def test_what_is_no_word_of_it_is_refused(said: object) -> None:
    payload = msgspec.to_builtins(a_beat(None))
    forged = msgspec.msgpack.encode([*payload[:-1], said])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(forged, type=StrongHeartbeat)
