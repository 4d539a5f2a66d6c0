"""The connection without its socket: who is believed, who is refused, and with which words."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import msgspec
import pytest

from haagent.peerlink.channel import Channel
from haagent.peerlink.identity import derive
from haagent.peerlink.messages import MAX_HELLO, MAX_MESSAGE, Cause, Hello, Over, Refused, frame
from tests.support.hostile_peer import CASES, attack
from tests.support.peer_stage import KEY, NEXT_KEY, STRANGE, STRANGE_KEY, TLS, accepting, hello, opening, talk


def refusal(one: Channel, other: Channel) -> Over:
    with pytest.raises(Over) as caught:
        talk(one, other)
    return caught.value


@pytest.mark.parametrize("bit", [1, 7, 1 << 20])
def test_both_ends_know_each_other_and_messages_arrive(bit: int) -> None:
    one, other = opening(), accepting()
    assert talk(one, other, bit=bit) == ([hello("B", "A")], [hello("A", "B")])
    messages = [b"x", b"y" * 16_381, b"z" * MAX_MESSAGE] if bit > 1 else [b"x", b"y" * 300]
    for message in messages:
        one.write(frame(message))
    other.write(frame(b"") + frame(b"back") + frame(b""))
    assert talk(one, other, bit=bit) == ([b"back"], messages)


def test_who_opens_believes_nobody_before_the_other_end_has_answered() -> None:
    """In TLS 1.3 its own handshake is done before the other end has seen its certificate."""
    one, other = opening(), accepting()
    list(other.receive(one.outgoing()))
    assert list(one.receive(other.outgoing())) == []
    assert one.certificate
    assert one.peer is None


@pytest.mark.parametrize(
    ("shown", "known"),
    [
        ((KEY,), (KEY, NEXT_KEY)),  # the new key was added behind the old one on one node
        ((KEY, NEXT_KEY), (KEY, NEXT_KEY)),
        ((NEXT_KEY, KEY), (KEY, NEXT_KEY)),  # it was put first on one node
        ((NEXT_KEY, KEY), (NEXT_KEY,)),  # the old one was removed on one node
    ],
)
def test_a_rotation_keeps_them_together_at_each_step(shown: tuple[bytes, ...], known: tuple[bytes, ...]) -> None:
    for ours, theirs in ((shown, known), (known, shown)):
        one = opening(identity=derive(ours, cluster="shop"))
        other = accepting(identity=derive(theirs, cluster="shop"))
        talk(one, other)
        assert one.peer
        assert other.peer


@pytest.mark.parametrize("key", [STRANGE_KEY, KEY])
def test_a_key_of_another_cluster_is_refused_on_both_sides(key: bytes) -> None:
    stranger = derive((key,), cluster="shop" if key == STRANGE_KEY else "shop2")
    assert refusal(opening(identity=stranger), accepting()).cause == Cause.KEY
    assert refusal(opening(), accepting(identity=stranger)).cause == Cause.KEY


def test_who_is_refused_for_the_key_is_told_so_by_tls() -> None:
    other = accepting(identity=STRANGE)
    one = opening()
    list(other.receive(one.outgoing()))
    with pytest.raises(Over):
        list(one.receive(other.outgoing()))
    with pytest.raises(Over) as caught:
        list(other.receive(one.outgoing()))
    assert caught.value.cause == Cause.KEY


class Bare:
    """A client that uses TLS as it likes."""

    def __init__(self, prepare: Callable[[ssl.SSLContext], None] = lambda _: None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        prepare(context)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out)

    def meet(self, other: Channel) -> ssl.SSLObject:
        """Raises what `other` raises."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            list(other.receive(self._out.read()))
            self._in.write(other.outgoing())
        return self.tls


def test_without_a_certificate_it_is_refused() -> None:
    with pytest.raises(Over) as caught:
        Bare().meet(accepting())
    assert caught.value.cause == Cause.KEY


def test_an_older_tls_is_refused() -> None:
    def older(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(Over) as caught:
        Bare(older).meet(accepting())
    assert caught.value.cause == Cause.TLS


def test_there_is_no_session_to_come_back_with() -> None:
    """A resumed session shows no certificate."""
    one, other = opening(), accepting()
    talk(one, other)
    session = one._tls.session
    assert session is None or not session.has_ticket


@pytest.mark.parametrize(
    ("said", "cause", "words"),
    [
        (hello("A", "B", layout=2), Cause.LAYOUT, "layout 2 of the peer link"),
        (hello("A", "B", cluster="bank"), Cause.FOREIGN, "cluster 'bank', and B is of cluster 'shop'"),
        (hello("B", "B"), Cause.TWIN, "B is this node's own name"),
        (hello("D\x1b[2J", "B"), Cause.UNKNOWN_NODE, "B knows no node 'D"),
        (hello("A", "C"), Cause.MISDIRECTED, "A meant 'C' and reached B"),
        (hello("C", "B"), Cause.MISDIRECTED, "C meant 'B' and reached B"),  # of these two B opens
    ],
)
def test_a_wrong_hello_is_refused_with_a_sentence_that_the_other_end_can_show(
    said: Hello, cause: Cause, words: str
) -> None:
    one, other = opening(), accepting()
    one._me = said
    over = refusal(one, other)
    assert over.cause == cause
    assert words in str(over)
    with pytest.raises(Over) as caught:
        list(one.receive(other.outgoing()))
    assert caught.value.cause == Cause.REFUSED
    assert str(caught.value) == str(over)
    assert str(over).isprintable()


def test_another_node_than_the_one_that_was_meant_is_refused() -> None:
    """Somebody who can redirect packets leads A's connection to C, or back to A."""
    other = accepting("C")
    one = opening("A", "B")
    other._me = hello("C", "")
    with pytest.raises(Over):
        talk(one, other)
    one, other = opening("A", "B"), accepting("A")
    assert refusal(one, other).cause == Cause.TWIN


@pytest.mark.parametrize("end", ["opens", "accepts"])
@pytest.mark.parametrize(
    ("sent", "cause"),
    [
        (frame(b""), Cause.HELLO),
        (frame(b"GET / HTTP/1.1\r\n\r\n"), Cause.HELLO),
        (frame(b"\x91" * 1000), Cause.HELLO),
        (frame(msgspec.msgpack.encode(["hello", 1, "shop"])), Cause.HELLO),
        (frame(msgspec.msgpack.encode(["hello", 1, b"shop", 2, 3, 4, 5])), Cause.HELLO),
        (frame(bytes(MAX_HELLO + 1)), Cause.OVERSIZED),
        (b"\xff\xff\xff\xff", Cause.OVERSIZED),
        (frame(msgspec.msgpack.encode(Refused("go\x1b[31m away"))), Cause.REFUSED),
    ],
)
def test_a_member_that_does_not_begin_with_a_hello(end: str, sent: bytes, cause: Cause) -> None:
    one, other = opening(), accepting()
    if end == "opens":
        one._greet = lambda _: one.write(sent)  # type: ignore[method-assign]
    else:
        other._greet = lambda _: other.write(sent)  # type: ignore[method-assign]
    over = refusal(one, other)
    assert over.cause == cause
    assert str(over).isprintable()


def test_a_hello_of_a_later_release_has_more_in_it() -> None:
    one, other = opening(), accepting()
    later = msgspec.msgpack.encode(["hello", 1, "shop", "A", "B", 7, "9.9.9", {"what": "we do not know"}])
    one._greet = lambda _: one.write(frame(later))  # type: ignore[method-assign]
    assert talk(one, other)[1] == [hello("A", "B", release="9.9.9")]


def test_after_the_hello_a_message_has_a_bound() -> None:
    one, other = opening(), accepting()
    talk(one, other)
    one.write((MAX_MESSAGE + 1).to_bytes(4, "big"))
    assert refusal(one, other).cause == Cause.OVERSIZED


def test_a_damaged_record_ends_the_connection() -> None:
    one, other = opening(), accepting()
    talk(one, other)
    one.write(frame(b"x"))
    data = bytearray(one.outgoing())
    data[-1] ^= 1
    with pytest.raises(Over) as caught:
        list(other.receive(bytes(data)))
    assert caught.value.cause == Cause.TLS


def test_what_was_recorded_means_nothing_to_another_connection() -> None:
    one, other = opening(), accepting()
    recorded = []
    for _ in range(2):
        recorded.append(one.outgoing())
        list(other.receive(recorded[-1]))
        list(one.receive(other.outgoing()))
    assert other.peer
    fresh = Channel(TLS, me=hello("B", ""), peers=frozenset("AC"))
    list(fresh.receive(recorded[0]))
    with pytest.raises(Over) as caught:
        list(fresh.receive(recorded[1]))
    assert caught.value.cause == Cause.TLS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_hostile_bytes(case: Callable[..., None]) -> None:
    """`python -m tests.support.hostile_peer` tries many more."""
    for seed in range(60):
        attack(case, seed)
