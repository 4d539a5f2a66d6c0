"""The replication machine, told step by step: who says what, and who is told what."""

from __future__ import annotations

import pytest

from haagent.core.store.effects import Put
from haagent.core.store.events import Died, Linked, Outcome, Received, Woke, Wrote
from haagent.core.store.messages import Ack, Batch, Behind
from haagent.core.store.replica import ANSWER_S
from haagent.core.store.settings import StoreSettings
from haagent.core.store.snapshot import weight
from tests.unit.core.store.pairs import Pair, joined
from tests.unit.core.store.worlds import contents

KEY = b"sess:1"


def test_alone_it_is_ready_after_a_while_and_without_peers_at_once() -> None:
    pair = Pair(join_timeout_s=8.0)
    pair.pass_time(7.9)
    assert not pair.ready
    pair.pass_time(0.2)
    assert pair.ready == {"A", "B"}
    single = Pair("A")
    single.step("A", Woke())
    assert single.ready == {"A"}


def test_a_join_is_told_of_with_how_much_it_has_taken_over() -> None:
    pair = joined()
    pair.put("A", KEY, b"1")
    pair.unlink("A", "B")
    pair.begin("B")
    pair.notes.clear()
    pair.take("A", Linked("B", pair.lives["B"]))
    pair.slow = {"B"}
    pair.step("B", Linked("A", pair.lives["A"]))
    pair.now += 0.25
    pair.flow()
    assert next(note for note in pair.notes if note[0] == "B") == ("B", "joins", "A")
    assert ("B", "ready", "B") in pair.notes
    assert "1 keys were taken over from A in 250 ms" in pair.texts


def test_what_is_written_on_one_is_on_the_other() -> None:
    pair = joined()
    pair.put("A", KEY, b"1")
    pair.put("B", b"sess:2", b"2")
    assert pair.find("B", KEY) == b"1"
    assert pair.find("A", b"sess:2") == b"2"


def test_the_story_a_dies_b_serves_a_returns_and_takes_bs_state() -> None:
    pair = joined(is_sync=True)
    pair.put("A", KEY, b"US_1", ticket=1)
    assert pair.answers == {1: Outcome.OK}
    pair.unlink("A", "B")
    pair.put("A", b"sess:0", b"nobody else has it")
    kept = pair.replicas["A"].store
    pair.put("B", b"sess:2", b"new")
    pair.replicas["B"].store.remove(pair.ms(), 0, KEY)
    pair.step("B", Wrote(pair.replicas["B"].store.take_effects()))
    pair.begin("A")
    pair.replicas["A"].store = kept  # it has kept a copy
    pair.link("A", "B")
    assert "A" in pair.ready
    assert pair.find("A", KEY) is pair.find("A", b"sess:0") is None, "its own copies were not confirmed"
    assert pair.find("A", b"sess:2") == b"new"
    assert contents(pair.replicas["A"].store) == contents(pair.replicas["B"].store)


def test_a_short_absence_is_made_good_from_the_backlog_alone() -> None:
    pair = joined()
    pair.unlink("A", "B")
    pair.put("A", KEY, b"1")
    before = pair.replicas["B"].counters["compared"]
    pair.link("A", "B")
    assert pair.find("B", KEY) == b"1"
    assert pair.replicas["B"].counters["compared"] == before


def test_whoever_is_too_far_behind_compares() -> None:
    pair = joined(backlog_bytes=1000)
    pair.unlink("A", "B")
    for number in range(100):
        pair.put("A", b"sess:%d" % number, b"v")
    before = pair.replicas["B"].counters["compared"]
    pair.link("A", "B")
    assert contents(pair.replicas["A"].store) == contents(pair.replicas["B"].store)
    assert pair.replicas["B"].counters["compared"] == before + 1


def test_a_slow_peer_costs_a_window_and_is_told_when_it_falls_out_of_the_backlog() -> None:
    pair = joined(backlog_bytes=20_000, window_bytes=2_000)
    pair.slow = {"B"}
    for number in range(1000):
        pair.put("A", b"sess:%d" % number, b"v" * 100)
    sent = [message for _, _, message in pair.waiting]
    assert sum(len(message.effects) for message in sent if isinstance(message, Batch)) < 20
    pair.flow()
    assert pair.replicas["B"].counters["behind"] == 1
    assert contents(pair.replicas["A"].store) == contents(pair.replicas["B"].store)
    assert any(isinstance(message, Batch | Behind) for message in sent)


def test_what_a_peer_has_not_confirmed_is_known_and_since_when() -> None:
    pair = joined(is_sync=True, sync_timeout_s=60.0)
    stream, reader = pair.replicas["A"].stream, pair.replicas["A"].peers["B"].reader
    assert stream.lacking(reader) == (0, None)
    pair.slow = {"A"}  # its acks wait
    for number in range(3):
        pair.now += 1.0
        pair.put("A", KEY, b"%d" % number * 100)
    queue_bytes, since = stream.lacking(reader)
    assert (stream.seq - reader.acked, since) == (3, pair.now - 2.0)
    assert queue_bytes == 3 * weight(Put(0, KEY, b"v" * 100, 0, 1, 1))
    pair.step("A", Received("B", Ack(reader.acked + 1)))
    queue_bytes, since = stream.lacking(reader)
    assert (queue_bytes, since) == (2 * weight(Put(0, KEY, b"v" * 100, 0, 1, 1)), pair.now - 1.0)
    pair.now += 0.5
    pair.flow()
    assert stream.lacking(reader) == (0, None)
    assert list(reader.acks_s)[-3:] == [2.0, 1.5, 0.5]
    assert pair.replicas["A"].peers["B"].compared_at is not None


def test_of_what_the_backlog_has_lost_the_age_is_that_of_what_is_left() -> None:
    pair = joined(backlog_bytes=1000)
    pair.unlink("A", "B")
    for number in range(100, 200):
        pair.now += 1.0
        pair.put("A", KEY, b"%d" % number)
    stream, reader = pair.replicas["A"].stream, pair.replicas["A"].peers["B"].reader
    queue_bytes, since = stream.lacking(reader)
    assert stream.seq - reader.acked == 100
    assert queue_bytes <= 2 * 1000
    assert since is not None
    assert since > pair.now - 20.0
    assert len(stream._marks) < 20


def test_sync_answers_when_it_is_there_and_not_before() -> None:
    pair = joined(is_sync=True, sync_timeout_s=0.25)
    pair.slow = {"A"}  # the acks wait
    pair.put("A", KEY, b"1", ticket=1)
    assert pair.answers == {}
    assert pair.find("B", KEY) == b"1"
    pair.flow()
    assert pair.answers == {1: Outcome.OK}


@pytest.mark.parametrize(("is_strict", "outcome"), [(False, Outcome.OK), (True, Outcome.NO_REPLICAS)])
def test_a_peer_that_does_not_answer_in_time_is_dropped(is_strict: bool, outcome: Outcome) -> None:
    pair = joined(is_sync=True, is_strict=is_strict, sync_timeout_s=0.25)
    pair.slow = {"A", "B"}
    pair.put("A", KEY, b"1", ticket=1)
    pair.pass_time(0.24)
    assert pair.answers == {}
    pair.pass_time(0.02)
    assert pair.answers == {1: outcome}
    assert ("A", "out_of_sync", "B") in pair.notes
    pair.put("A", KEY, b"2", ticket=2)
    assert pair.answers[2] is outcome, "nobody is waited for"
    pair.flow()
    assert pair.replicas["A"].in_sync == {"B"}, "it has caught up"


def test_a_new_life_is_not_in_sync_before_it_has_joined() -> None:
    pair = joined(is_sync=True)
    pair.put("A", KEY, b"1", ticket=1)
    pair.unlink("A", "B")
    pair.begin("B")
    pair.slow = {"B"}
    pair.link("A", "B")
    assert pair.replicas["A"].in_sync == set()
    pair.put("A", KEY, b"2", ticket=2)
    assert pair.answers[2] is Outcome.OK


def test_touches_wait_and_become_one_and_nobody_waits_for_them() -> None:
    pair = joined(is_sync=True, touch_every_s=5.0)
    pair.put("A", KEY, b"1", ticket=1)
    pair.slow = {"B"}
    s = pair.replicas["A"].store
    for number in range(10):
        s.expire(pair.ms(), 0, KEY, pair.ms() + 4_000_000 + number)
        pair.step("A", Wrote(s.take_effects(), 10 + number))
    assert len(pair.answers) == 11
    assert pair.waiting == []
    pair.pass_time(5.1)
    batches = [message for _, _, message in pair.waiting if isinstance(message, Batch)]
    assert [len(batch.effects) for batch in batches] == [1]


def test_a_touch_of_a_short_life_waits_for_less() -> None:
    pair = joined(touch_every_s=5.0)
    s = pair.replicas["A"].store
    s.put(pair.ms(), 0, KEY, b"1", pair.ms() + 10_000)
    s.take_effects()
    s.expire(pair.ms(), 0, KEY, pair.ms() + 20_000)
    pair.step("A", Wrote(s.take_effects()))
    assert pair.replicas["A"].deadline == pytest.approx(pair.now + 0.4)


@pytest.mark.parametrize("how", ["told", "parted", "new life"])
def test_locks_of_a_life_that_is_over_are_removed(how: str) -> None:
    pair = joined(dead_after_s=10.0)
    pair.put("A", b"sess:1_LOCK", b"")
    pair.put("B", b"sess:2_LOCK", b"")
    pair.put("A", KEY, b"v")
    pair.unlink("A", "B")
    if how == "told":
        pair.step("B", Died("A"))
    elif how == "parted":
        pair.pass_time(9.9)
        assert pair.find("B", b"sess:1_LOCK") == b""
        pair.pass_time(0.2)
    else:
        pair.pass_time(0.1)
        pair.begin("A")
        pair.link("A", "B")
    assert pair.find("B", b"sess:1_LOCK") is None
    assert pair.find("B", b"sess:2_LOCK") == b""
    assert pair.find("B", KEY) == b"v"


def test_a_node_that_is_lost_is_waited_for_no_longer() -> None:
    pair = joined(is_sync=True, sync_timeout_s=60.0)
    pair.slow = {"A", "B"}
    pair.put("A", KEY, b"1", ticket=1)
    assert pair.answers == {}
    pair.step("A", Died("B"))
    assert pair.answers == {1: Outcome.OK}
    assert not pair.replicas["A"].peers["B"].is_linked
    assert ("A", "out_of_sync", "B") in pair.notes
    pair.put("A", KEY, b"2", ticket=2)
    assert pair.answers[2] is Outcome.OK
    pair.step("A", Died("nobody that is known"))


def test_who_was_taken_for_lost_and_was_not_is_in_sync_again() -> None:
    pair = joined(is_sync=True)
    pair.step("A", Died("B"))
    pair.unlink("A", "B")
    pair.put("A", KEY, b"1", ticket=1)
    pair.link("A", "B")
    assert pair.replicas["A"].in_sync == {"B"}
    assert pair.find("B", KEY) == b"1"


def parted_for_long(**settings: object) -> Pair:
    """While they are parted A removes a session, and then so many that this has to be forgotten. B saves it again."""
    pair = joined(keeping=StoreSettings(databases=2, max_removals=10), **settings)
    pair.put("A", KEY, b"1")
    pair.put("B", b"sess:2", b"1")
    pair.put("B", b"plain", b"1")
    pair.now += 1.0
    pair.unlink("A", "B")
    a = pair.replicas["A"].store
    for key in (KEY, b"sess:2", b"plain"):
        assert a.remove(pair.ms(), 0, key)
    for number in range(20):
        a.put(pair.ms(), 0, b"sess:a%d" % number, b"v")
        a.remove(pair.ms(), 0, b"sess:a%d" % number)
    pair.step("A", Wrote(a.take_effects()))
    a.expire_some(pair.ms(), 1000)
    assert KEY not in a.spaces[0].graves
    pair.now += 1.0
    for key in (KEY, b"sess:2", b"plain", b"sess:born-there"):
        pair.put("B", key, b"2")
    pair.now += 1.0
    return pair


@pytest.mark.parametrize("backlog_bytes", [1_000_000, 300])
def test_a_removal_that_had_to_be_forgotten_during_a_split_stands(backlog_bytes: int) -> None:
    pair = parted_for_long(backlog_bytes=backlog_bytes)
    pair.link("A", "B")
    for name in "AB":
        assert pair.find(name, KEY) is pair.find(name, b"sess:2") is None
        assert pair.find(name, b"sess:born-there") == b"2", "of that nobody has removed anything"
        assert pair.find(name, b"plain") == b"2", "here the last writer wins"
    assert contents(pair.replicas["A"].store) == contents(pair.replicas["B"].store)
    assert pair.replicas["A"].in_sync == {"B"}
    pair.pass_time(3 * 3600.0)
    for name in "AB":
        pair.replicas[name].store.expire_some(pair.ms(), 1000)
        assert pair.replicas[name].store.spaces[0].horizon == 0


def test_who_has_joined_during_the_split_knows_that_removals_were_forgotten() -> None:
    pair = Pair("ABC", keeping=StoreSettings(databases=2, max_removals=10), backlog_bytes=300)
    for one, other in ("AB", "AC", "BC"):
        pair.link(one, other)
    pair.put("A", KEY, b"1")
    pair.now += 1.0
    pair.unlink("A", "B")
    pair.unlink("B", "C")
    a = pair.replicas["A"].store
    a.remove(pair.ms(), 0, KEY)
    for number in range(20):
        a.put(pair.ms(), 0, b"sess:a%d" % number, b"v")
        a.remove(pair.ms(), 0, b"sess:a%d" % number)
    pair.step("A", Wrote(a.take_effects()))
    a.expire_some(pair.ms(), 1000)
    pair.put("B", KEY, b"2")
    pair.now += 1.0
    pair.unlink("A", "C")
    pair.begin("C")
    pair.link("A", "C")
    assert "C" in pair.ready
    pair.unlink("A", "C")
    pair.link("B", "C")
    assert pair.find("B", KEY) is pair.find("C", KEY) is None


def test_who_evicts_takes_nothing_for_removed() -> None:
    pair = parted_for_long(backlog_bytes=300)
    pair.replicas["A"].store.evicted = 1
    pair.link("A", "B")
    assert pair.find("A", KEY) == pair.find("B", KEY) == b"2"


def test_what_went_wrong_unseen_is_found_within_a_minute() -> None:
    pair = joined(compare_every_s=60.0)
    pair.put("A", KEY, b"v")
    space = pair.replicas["B"].store.spaces[0]
    entry = space.entry(KEY)
    assert entry is not None
    space.drop(KEY, entry)
    pair.pass_time(91)
    assert pair.find("B", KEY) == b"v"
    assert pair.replicas["B"].counters["differed"] > 0


def test_a_peer_that_refuses_what_lies_in_its_future_is_not_in_sync() -> None:
    pair = joined(is_sync=True)
    s = pair.replicas["A"].store
    s.put(pair.ms() + 60_000, 0, KEY, b"v", 0)
    pair.step("A", Wrote(s.take_effects(), 1))
    assert pair.answers == {1: Outcome.OK}, "nobody is left to wait for"
    assert pair.replicas["A"].in_sync == set()
    assert pair.find("B", KEY) is None
    pair.pass_time(66)
    assert pair.find("B", KEY) == b"v", "the clock has got there"
    assert pair.replicas["A"].in_sync == {"B"}


def test_a_message_of_a_link_that_is_gone_means_nothing() -> None:
    pair = joined()
    pair.unlink("A", "B")
    assert pair.replicas["A"].step(pair.now, pair.ms(), Received("B", Ack(5))) == []


def test_who_joins_turns_to_another_when_one_does_not_say_what_it_has() -> None:
    """It is linked and pings, so its link stands: all waited for it, for ever."""
    pair = Pair("ABC", join_timeout_s=1.0)
    pair.link("A", "B")
    pair.pass_time(1.5)
    pair.put("B", KEY, b"x")
    pair.begin("C")
    assert pair.ready == {"A", "B"}
    pair.slow = {"A"}
    pair.link("A", "C")
    pair.link("B", "C")
    pair.pass_time(ANSWER_S - 1)
    assert "C" not in pair.ready
    pair.pass_time(2)
    assert pair.hung_up == [("C", "A", "nothing, where it was asked what it has")]
    assert "C" in pair.ready
    assert pair.find("C", KEY) == b"x"
