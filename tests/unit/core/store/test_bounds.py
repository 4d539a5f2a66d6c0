"""What no store says is refused, whatever it is: nine thousand messages that are wrong somewhere."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from haagent.core.store.effects import Flush, Put, PutFields, Remove, Touch
from haagent.core.store.events import HangUp, Linked, Received, Send, Unlinked, Woke, Wrote
from haagent.core.store.messages import (
    Ack,
    Ask,
    Assembler,
    Batch,
    Behind,
    Digests,
    Hello,
    Message,
    Resume,
    Slice,
    frames,
)
from haagent.core.store.space import SHARDS
from haagent.core.store.stamps import wall_ms
from tests.unit.core.store.pairs import Pair, joined
from tests.unit.core.store.worlds import contents

NUMBERS = (-(1 << 63), -2, -1, 0, 1, 2, 7, 1023, 1024, 1 << 31, (1 << 60) - 1, 1 << 63, (1 << 64) - 1)
FAR = 1 << 63


def busy() -> Pair:
    """Two that have joined, with something of each kind in them, which have also compared."""
    pair = joined(compare_every_s=60.0, is_sync=True)
    for name in "AB":
        s = pair.replicas[name].store
        far_ms = pair.ms() + 3_600_000
        for number in range(3):
            s.put(pair.ms(), number % 2, b"sess:%s%d" % (name.encode(), number), b"v", far_ms)
            s.put_fields(pair.ms(), 0, b"session:%s%d" % (name.encode(), number), {b"f": b"1", b"g": b"2"})
        s.take_effects()  # nobody is told: the comparison finds it
        s.put(pair.ms(), 0, b"%s_LOCK" % name.encode(), b"")
        s.put(pair.ms(), 0, name.encode(), b"v", far_ms)
        pair.step(name, Wrote(s.take_effects()))
        s.expire(pair.ms(), 0, name.encode(), far_ms - 1000)
        s.expire(pair.ms(), 0, b"sess:%s0" % name.encode(), far_ms + 1000)
        s.remove_fields(pair.ms(), 0, b"session:%s0" % name.encode(), [b"f"])
        s.remove(pair.ms(), 0, b"sess:%s1" % name.encode())
        pair.step(name, Wrote(s.take_effects()))
    pair.replicas["A"].store.flush(pair.ms(), 1)
    pair.step("A", Wrote(pair.replicas["A"].store.take_effects()))
    pair.pass_time(95.0)
    pair.unlink("A", "B")
    pair.link("A", "B")
    return pair


def spoiled(value: Any, chance: random.Random) -> Any:
    """Something like it, that is wrong somewhere or not."""
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], spoiled(value[at], chance), *value[at + 1 :]]
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.3:
            return {(chance.choice(NUMBERS) if each == key else each): item for each, item in value.items()}
        return value | {key: spoiled(value[key], chance)}
    match chance.randrange(12):
        case 0 if isinstance(value, list):
            return value[: chance.randrange(len(value) + 1)]
        case 1 if isinstance(value, list):
            return value * 2
        case 2:
            return [value]
        case 3:
            return bytes(chance.choice((0, 1, 5, 20_000)))
    return chance.choice(NUMBERS)


def test_no_message_breaks_a_store() -> None:
    chance = random.Random(13)
    samples = [msgspec.msgpack.decode(frames(message)[0][1:], strict=False) for message in busy().sent]
    kinds = {sample[0] for sample in samples}
    assert kinds == set(range(1, 12)) - {6}, "one of each, but nobody was behind"
    samples += [[6, 100]]
    by_kind = [[sample for sample in samples if sample[0] == kind] for kind in sorted({*kinds, 6})]
    hung_up = heard = 0
    for _ in range(150):
        pair = busy()
        replica = pair.replicas["A"]
        for _ in range(60):
            sample = chance.choice(chance.choice(by_kind))
            for _ in range(chance.randrange(1, 4)):
                sample = spoiled(sample, chance)
            try:
                message = Assembler(1 << 20).feed(b"\0" + msgspec.msgpack.encode(sample))
            except ValueError:
                continue  # the decoder has refused it
            assert message is not None
            if any(isinstance(action, HangUp) for action in replica.step(pair.now, pair.ms(), Received("B", message))):
                hung_up += 1
                assert replica.step(pair.now, pair.ms(), Received("B", message)) == [], "its link is over"
                replica.step(pair.now, pair.ms(), Unlinked("B"))
                replica.step(pair.now, pair.ms(), Linked("B", pair.lives["B"]))
                hello = Hello(1, pair.lives["B"], True, 1, 0, 0, 1)
                replica.step(pair.now, pair.ms(), Received("B", hello))
            else:
                heard += 1
            pair.now += 0.5
            replica.step(pair.now, pair.ms(), Woke())
        assert wall_ms(replica.store.clock.last) <= pair.ms() + replica.store.settings.max_drift_ms
        assert replica.counters["nonsense"] <= hung_up
        pair.put("A", b"sess:new", b"it works")
        assert pair.find("A", b"sess:new") == b"it works"
        replica.store.digests()
        replica.store.expire_some(pair.ms() + FAR, 10_000)
    assert min(hung_up, heard) > 500


def refused(message: Message, pair: Pair | None = None) -> str:
    """Why A hangs up on B; empty: it does not."""
    pair = pair or busy()
    before = contents(pair.replicas["A"].store)
    actions = pair.replicas["A"].step(pair.now, pair.ms(), Received("B", message))
    (why,) = [action.why for action in actions if isinstance(action, HangUp)] or [""]
    if why:
        assert contents(pair.replicas["A"].store) == before
        assert pair.replicas["A"].counters["nonsense"] == 1
        assert not pair.replicas["A"].peers["B"].is_linked
        assert not any(isinstance(action, Send) for action in actions)
    return why


HELD = [(0, b"k", 1)]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Hello(1, 1, True, 1, 1, 1, -1), "a number is -1"),
        (Resume(1 << 40, is_complete=True), "a place in our stream"),
        (Ack(1 << 40), "a place in our stream"),
        (Ack(0, -1), "a number is -1"),
        (Behind(-1), "a place in its stream"),
        (Digests(1, [0] * (SHARDS - 1), [], {}, 0), "the number of digests is 1023"),
        (Digests(1, [0] * SHARDS, [SHARDS], {}, 0), "a shard is 1024"),
        (Digests(1, [0] * SHARDS, [], {2048: []}, 0), "the number of a node is 2048"),
        (Digests(1, [0] * SHARDS, [], {1: [(1, 2)] * 17}, 0), "the ranges of what it has seen is 17"),
        (Ask(1, -1, HELD, {}, 0), "a shard is -1"),
        (Ask(1, 0, [(2, b"k", 1)], {}, 0), "a database is 2"),
        (Ask(1, 0, [(0, bytes(20_000), 1)], {}, 0), "the length of a key is 20000"),
        (Slice(1, 0, [], True, [(-1, b"k")]), "a database is -1"),
        (Slice(1, 0, [Put(-1, b"k", b"v", 0, 1, 1)], True), "a database is -1"),
        (Slice(1, 0, [Put(2, b"k", b"v", 0, 1, 1)], True), "a database is 2"),
        (Slice(1, 0, [Put(0, b"k", bytes((16 << 20) + 1), 0, 1, 1)], True), "the length of a value"),
        (Slice(1, 0, [Put(0, b"k", b"v", -1, 1, 1)], True), "a number is -1"),
        (Slice(1, 0, [Put(0, b"k", b"v", 0, 1, 1, (-1, 1))], True), "a number is -1"),
        (Slice(1, 0, [Touch(0, b"k", FAR, 1, 1)], True), "a number is 9223372036854775808"),
        (Slice(1, 0, [PutFields(0, b"k", {b"f": (b"v", -1, 1)}, 0, 1, 1)], True), "a number is -1"),
        (Slice(1, 0, [Flush(-2, 1)], True), "a database is -2"),
        (Slice(1, 0, [Remove(0, b"k", -1)], True), "a number is -1"),
    ],
)
def test_what_lies_out_of_bounds_is_refused(message: Message, why: str) -> None:
    assert why in refused(message)


def test_a_batch_follows_the_one_before_it() -> None:
    pair = busy()
    heard = pair.replicas["A"].peers["B"].heard
    put = Put(0, b"k", b"v", 0, 1, 1)
    assert "follow" in refused(Batch(heard, []), busy())
    assert "follow" in refused(Batch(heard + 2, [put]), busy())
    assert refused(Batch(heard + 1, [put]), pair) == ""


def test_nobody_is_heard_before_its_greeting() -> None:
    pair = busy()
    pair.unlink("A", "B")
    pair.take("A", Linked("B", pair.lives["B"]))
    assert "before its greeting" in refused(Ack(0), pair)
