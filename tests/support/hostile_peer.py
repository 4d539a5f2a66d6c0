"""What somebody may send who has no key, and somebody who has it and is not well. A campaign of its own:

    python -m tests.support.hostile_peer 200000

Whatever it is, a channel says that it is over, with a cause, or waits; it keeps no more than it says; and who has not
proved that it has the key is never believed.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from haagent.peerlink.channel import HEAD, RECORD, Channel
from haagent.peerlink.messages import LAYOUT, MAX_HELLO, MAX_MESSAGE, Hello, Over, Refused, frame
from tests.support.peer_stage import accepting, opening, talk

Feed = Callable[[Channel, bytes], None]
PLAIN = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"SSH-2.0-x\r\n",
    b"\x16\x03\x01",
    b"\x15\x03\x03\0\2\2\x28",
)
SAYS_NOTHING = b"\x14\x03\x03\0\x01\x01"


def _noise(rng: Random, most: int) -> bytes:
    return rng.choice((b"", rng.choice(PLAIN))) + rng.randbytes(rng.randrange(most))


def _damaged(rng: Random, data: bytes) -> bytes:
    """Never the same as before."""
    made = bytearray(data)
    while bytes(made) == data:
        at = rng.randrange(len(made) + 1)
        match rng.randrange(6):
            case 0:
                made[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del made[at : at + rng.randrange(1, 40)]
            case 2:
                made[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 3:
                made[at:at] = made[: rng.randrange(len(made) + 1)]
            case 4 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case _:
                made[at:] = rng.randbytes(rng.choice((0, 5, 300)))
    return bytes(made)


def noise_to_who_accepts(rng: Random, feed: Feed) -> None:
    feed(accepting(), _noise(rng, 600))


def noise_to_who_opens(rng: Random, feed: Feed) -> None:
    one = opening()
    one.outgoing()
    feed(one, _noise(rng, 600))


def damaged_first_words(rng: Random, feed: Feed) -> None:
    feed(accepting(), _damaged(rng, opening().outgoing()))


def damaged_answer(rng: Random, feed: Feed) -> None:
    one, other = opening(), accepting()
    list(other.receive(one.outgoing()))
    feed(one, _damaged(rng, other.outgoing()))


def damaged_proof(rng: Random, feed: Feed) -> None:
    """Of the opener's second words: certificate, signature and hello. What stands around them is not what is tested: a
    ChangeCipherSpec, which means nothing in TLS 1.3, and more after the hello."""
    one, other = opening(), accepting()
    list(other.receive(one.outgoing()))
    list(one.receive(other.outgoing()))
    proof = one.outgoing()
    made = _damaged(rng, proof)
    if proof.removeprefix(SAYS_NOTHING) not in made:
        feed(other, made)


def _hello(rng: Random) -> bytes:
    fields: list[object] = ["hello", LAYOUT, "shop", "A", "B", 7, "0"]
    for _ in range(rng.randrange(3)):
        strange = (
            rng.randrange(-(2**63), 2**64),
            rng.random(),
            "x" * rng.randrange(900),
            rng.randbytes(9),
            None,
            [],
            {},
        )
        fields[rng.randrange(len(fields))] = rng.choice(strange)
    encoded = msgspec.msgpack.encode(rng.choice((fields, fields[: rng.randrange(8)], Refused("\x1b" * 900))))
    return rng.choice((encoded, _damaged(rng, encoded), rng.randbytes(rng.randrange(1, 1200))))


def a_member_that_greets_strangely(rng: Random, feed: Feed) -> None:
    one, other = opening(), accepting()
    said = frame(_hello(rng))
    if rng.random() < 0.5:
        list(other.receive(one.outgoing()))
        one._greet = lambda _: one.write(said)  # type: ignore[method-assign]
        list(one.receive(other.outgoing()))
        feed(other, one.outgoing())
    else:
        other._greet = lambda _: other.write(said)  # type: ignore[method-assign]
        list(other.receive(one.outgoing()))
        list(one.receive(other.outgoing()))
        list(other.receive(one.outgoing()))
        feed(one, other.outgoing())


def a_member_that_sends_garbage(rng: Random, feed: Feed) -> None:
    one, other = opening(), accepting()
    talk(one, other)
    one.write(rng.randbytes(rng.randrange(1, 3000)) if rng.random() < 0.7 else bytes(rng.randrange(1, 60_000)))
    feed(other, one.outgoing())


CASES: tuple[Callable[[Random, Feed], None], ...] = (
    noise_to_who_accepts,
    noise_to_who_opens,
    damaged_first_words,
    damaged_answer,
    damaged_proof,
    a_member_that_greets_strangely,
    a_member_that_sends_garbage,
)
MAY_BE_BELIEVED = {a_member_that_greets_strangely, a_member_that_sends_garbage}


def attack(case: Callable[[Random, Feed], None], seed: int) -> str:
    """What became of it."""
    rng = Random(seed)
    outcome = "harmless"

    def feed(victim: Channel, data: bytes) -> None:
        nonlocal outcome
        outcome, words, at = "waits", "", 0
        try:
            while at < len(data):
                end = at + rng.choice((1, 5, 100, 70_000))
                for told in victim.receive(data[at:end]):
                    assert isinstance(told, Hello) or victim.peer is not None, seed
                at = end
        except Over as over:
            outcome, words = str(over.cause), str(over)
        assert words.isprintable(), (case.__name__, seed)
        most = (MAX_MESSAGE if victim.peer else MAX_HELLO) + HEAD + RECORD
        assert len(victim._buffer) <= most, (case.__name__, seed)
        assert victim.peer is None or case in MAY_BE_BELIEVED, (case.__name__, seed)
        if victim.peer is not None and outcome == "waits":
            outcome = "believed"

    case(rng, feed)
    return outcome


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def main() -> None:
    count = int(sys.argv[1])
    outcomes: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    for seed in range(count):
        case = CASES[seed % len(CASES)]
        outcomes[case.__name__, attack(case, seed)] += 1
        if seed == count // 10:
            before = _resident()
    for (name, outcome), number in sorted(outcomes.items()):
        print(f"{name:32} {outcome:12} {number}")
    print(f"{count} in {time.monotonic() - began:.0f} s; {before} KiB after a tenth, {_resident()} KiB at the end")


if __name__ == "__main__":
    main()
