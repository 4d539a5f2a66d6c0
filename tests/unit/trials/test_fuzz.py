"""Hostile input for a real store, for some seconds; and what looks at the answers finds what is wrong with them."""

from __future__ import annotations

import random

import pytest

from trials.fuzz import stage
from trials.fuzz.campaign import attack
from trials.fuzz.replies import Malformed, Unfinished, replies
from trials.fuzz.requests import payload
from trials.fuzz.sayings import HONEST, Heard, is_believed, saying


@pytest.mark.parametrize(("where", "inputs"), [("door", 600), ("link", 300)])
def test_a_store_stands_hostile_input(where: str, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ANSWER_S", stage.PATIENCE_S)  # other tests run beside it
    told: list[str] = []
    row = attack(where, seed=1, numbers=range(inputs), tell=told.append)
    assert not row.complaint, told
    assert row.inputs == inputs
    assert len(row.counts) >= 4


def test_an_input_follows_from_its_seed() -> None:
    assert payload(random.Random("1:door:7")) == payload(random.Random("1:door:7"))
    assert len({payload(random.Random(f"1:door:{number}")) for number in range(100)}) > 90


def test_replies_are_told_from_each_other() -> None:
    data = b"+OK\r\n:-5\r\n$2\r\n\r\n\r\n$-1\r\n*-1\r\n*2\r\n$0\r\n\r\n*0\r\n-ERR no\r\n"
    assert replies(data) == [b"+", b":", b"$", b"$", b"*", b"*", b"-ERR no"]
    assert replies(b"%1\r\n+a\r\n#t\r\n~1\r\n,1.5\r\n>2\r\n_\r\n=5\r\ntxt:x\r\n") == [b"%", b"~", b">"]


@pytest.mark.parametrize(
    "data",
    [
        *(b"+O\nK\r\n", b"+O\rK\r\n", b":\r\n", b":01\r\n", b":-0\r\n", b":+1\r\n", b"$-2\r\n", b"$1\r\nab\r\n"),
        *(b"*-2\r\n", b"%-1\r\n", b"OK\r\n", b"\r\n", b"#x\r\n", b"_x\r\n", b",x\r\n", b"=5\r\ntextx\r\n", b"=-1\r\n"),
        b"*1\r\n" * 20 + b":1\r\n",
    ],
)
def test_what_is_no_reply_is_found(data: bytes) -> None:
    with pytest.raises(Malformed):
        replies(data)


@pytest.mark.parametrize("data", [b"+OK", b"+OK\r", b"$5\r\nhello", b"*2\r\n:1\r\n", b"%1\r\n+a\r\n", b"$5\r\nhello\r"])
def test_a_reply_without_its_end_is_found(data: bytes) -> None:
    with pytest.raises(Unfinished):
        replies(data)


def test_no_saying_takes_away_what_the_honest_have_stored() -> None:
    heard = Heard()
    sayings = {saying(random.Random(number), heard) for number in range(2_000)}
    assert len(sayings) > 1_000
    assert not any(map(is_believed, sayings))
    assert is_believed(b"\x93\x04\x01\x91\x93\x06\x00\x01"), "a flush"
    removal = b"\x94\x03\x00\xc4" + bytes([len(HONEST)]) + HONEST + b"\x01"
    assert is_believed(b"\x93\x04\x01\x91" + removal), "of one session"
