"""One history of the whole cluster, in portions, without gaps."""

from __future__ import annotations

import random

from haagent.core.event_kinds import Kind
from haagent.core.history import History
from haagent.core.limits import MAX_RECORDS, MAX_TEXT, RECORDS_PER_BEAT
from haagent.core.membership import Peer
from haagent.core.messages import Heard, Heartbeat, Record

BOOT = {"A": 1, "B": 2, "C": 3}


def beat(
    node: str, records: tuple[Record, ...] = (), recorded: dict[str, Heard] | None = None, boot: int = 0
) -> Heartbeat:
    return Heartbeat(
        cluster="c",
        node=node,
        boot=boot or BOOT[node],
        seq=1,
        interval_ms=100,
        lease_ms=350,
        records=records,
        recorded=recorded or {},
    )


def peer(node: str, recorded: dict[str, Heard] | None = None) -> Peer:
    found = Peer(node)
    found.stored = (recorded or {}).get("A")
    return found


def texts(history: History) -> list[str]:
    return [record.text for _, record in history.merged()]


def with_lines(count: int, me: str = "A") -> History:
    history = History(me, BOOT[me])
    for number in range(1, count + 1):
        history.add(float(number), Kind.ORDER, "", f"{me}{number}")
    return history


def test_lines_are_numbered_and_cut_to_size() -> None:
    history = with_lines(1)
    record = history.add(2.0, Kind.ORDER, "web", "x" * 1000)
    assert record.index == 2
    assert len(record.text) == MAX_TEXT


def test_with_nothing_to_tell_nothing_is_sent() -> None:
    assert History("A", 1).to_send([peer("B")]) == ()
    assert with_lines(3).to_send([]) == (), "nobody is there to hear it"


def test_who_has_stored_nothing_is_sent_the_oldest_first() -> None:
    history = with_lines(10)
    assert [record.index for record in history.to_send([peer("B")])] == list(range(1, RECORDS_PER_BEAT + 1))
    assert [record.index for record in history.to_send([Peer("B")])] == list(range(1, RECORDS_PER_BEAT + 1))


def test_the_one_that_lacks_most_decides_where_to_go_on() -> None:
    history = with_lines(10)
    peers = [peer("B", {"A": Heard(BOOT["A"], 9)}), peer("C", {"A": Heard(BOOT["A"], 4)})]
    assert [record.index for record in history.to_send(peers)] == [5, 6, 7]


def test_what_was_stored_of_an_earlier_life_does_not_count() -> None:
    assert with_lines(10).to_send([peer("B", {"A": Heard(99, 10)})])[0].index == 1


def test_lines_that_were_dropped_cannot_be_sent() -> None:
    history = with_lines(MAX_RECORDS + 5)
    assert history.to_send([peer("B")])[0].index == 6


def test_a_line_is_stored_once() -> None:
    history = History("B", 2)
    lines = tuple(Record(index, float(index), "note", "", str(index)) for index in (2, 1, 3))
    assert [record.index for record in history.hear(beat("A", lines))] == [1, 2, 3]
    assert history.hear(beat("A", lines)) == []
    assert history.stored() == {"A": Heard(BOOT["A"], 3)}


def test_a_new_life_starts_its_numbers_again_and_keeps_the_old_lines() -> None:
    history = History("B", 2)
    history.hear(beat("A", (Record(1, 1.0, "note", "", "before"),)))
    history.hear(beat("A", (Record(1, 2.0, "note", "", "after"),), boot=77))
    assert texts(history) == ["before", "after"]
    assert history.stored() == {"A": Heard(77, 1)}


def test_all_nodes_tell_it_by_the_clock_on_the_wall() -> None:
    history = with_lines(2)
    history.hear(beat("B", (Record(1, 1.5, "note", "", "B1"),)))
    assert texts(history) == ["A1", "B1", "A2"]
    assert history.merged() is history.merged(), "asked at every status, sorted when something is new"


def test_everything_arrives_however_much_is_lost() -> None:
    rng = random.Random(0)
    here, there = with_lines(50), History("B", BOOT["B"])
    for _ in range(200):
        said = beat("A", here.to_send([peer("B", dict(there.stored()))]))
        if rng.random() < 0.5:
            there.hear(said)
    assert texts(there) == texts(here)


def test_what_was_said_does_not_change_afterwards() -> None:
    """A heartbeat is a value. One that is still to be encoded must not pick up what is heard meanwhile."""
    history = History("B", 2)
    history.hear(beat("A", (Record(1, 1.0, "note", "", "one"),)))
    said = history.stored()
    history.hear(beat("A", (Record(2, 2.0, "note", "", "two"),)))
    assert said == {"A": Heard(BOOT["A"], 1)}


def test_what_a_peer_says_gives_no_order_to_a_terminal() -> None:
    history = History("A", BOOT["A"])
    history.hear(beat("B", (Record(1, 1.0, "note\x9b", "\x1b]", "all\x1b[2J is\r\n well \u202e"),)))
    history.add(2.0, Kind.ORDER, "", "\x1b[2J asks to move web")
    lines = [(record.kind, record.group, record.text) for _, record in history.merged()]
    assert lines == [("note ", " ]", "all [2J is   well  "), ("order", "", " [2J asks to move web")]
