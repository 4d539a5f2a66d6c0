"""What an agent leaves with its guardian: the messages, the last words, copies of the heartbeat sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.core.final_release import last_words
from haagent.core.messages import Ballot, GroupBeat, Heartbeat
from haagent.core.wire import Opener, Sealer
from haagent.guardian import messages
from haagent.guardian.channel import GuardianChannel
from haagent.guardian.cleanup import CleanupState
from haagent.heartbeats.link import Link
from haagent.heartbeats.plan import Binding, LinkPlan

KEY = b"k" * 32
NOWHERE = socket.inet_aton("192.0.2.77")  # of a net that no host has (RFC 5737)
PATIENCE_S = 20


def beat(seq: int, **group: object) -> Heartbeat:
    groups = (GroupBeat("web", **group),)  # type: ignore[arg-type]
    return Heartbeat(cluster="c", node="A", boot=7, seq=seq, interval_ms=100, lease_ms=350, groups=groups)


class TestMessages:
    def test_a_list_comes_out_as_it_went_in(self) -> None:
        reader = messages.Reader()
        (message,) = messages.messages(messages.WORDS, [b"one", b"", b"three"])
        assert reader.read(message) == (messages.WORDS, [b"one", b"", b"three"])
        assert reader.read(messages.messages(messages.VOID, ())[0]) == (messages.VOID, [])

    def test_a_long_list_is_whole_with_its_last_message(self) -> None:
        parts = [bytes([number]) * 1200 for number in range(100)]
        sent = messages.messages(messages.WORDS, parts)
        assert len(sent) > 1
        assert max(map(len, sent)) <= messages.MAX_MESSAGE
        reader = messages.Reader()
        assert [reader.read(message) for message in sent[:-1]] == [(messages.WORDS, None)] * (len(sent) - 1)
        assert reader.read(sent[-1]) == (messages.WORDS, parts)

    def test_a_list_that_was_begun_anew_forgets_the_unfinished_one(self) -> None:
        long = messages.messages(messages.WORDS, [b"x" * 1200] * 100)
        reader = messages.Reader()
        reader.read(long[0])
        assert reader.read(messages.messages(messages.WORDS, [b"new"])[0]) == (messages.WORDS, [b"new"])

    def test_destinations_are_as_sendto_wants_them(self) -> None:
        targets = (("239.192.72.65", 7265), ("fe80::1", 7265, 0, 3))
        (message,) = messages.messages(messages.LINKS, [targets, ()])
        assert messages.Reader().read(message) == (messages.LINKS, [targets, ()])


class Left:
    """What a guardian would know: the other end of the channel, read into a cleanup."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.cleanup = CleanupState()
        self.kinds = ""

    def read(self) -> str:
        """The kinds of the messages that came since the last call."""
        self.kinds = ""
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.channel, messages.MAX_MESSAGE, 16)
            except BlockingIOError:
                return self.kinds
            self.kinds += message[:1].decode()
            self.cleanup.receive(message, descriptors)


@pytest.fixture
def left() -> Iterator[tuple[GuardianChannel, Left]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    guardian = GuardianChannel(theirs)
    guardian.seal_with(sealer())
    with ours, theirs:
        yield guardian, Left(ours)


def sealer() -> Sealer:
    return Sealer(keys=(KEY,), cluster="c", node="A", boot=7)


def opened(cleanup: CleanupState) -> Heartbeat:
    opener = Opener(keys=(KEY,), cluster="c", node="B", nodes=frozenset("AB"), boot=8)
    (found,) = filter(None, map(opener.open, cleanup.words))
    return found


class TestWill:
    def test_no_claim_goes_out_before_the_words_that_release_it(self, left: tuple[GuardianChannel, Left]) -> None:
        guardian, there = left
        claim = Ballot(3, "A")
        said = beat(5, claim=claim, held_ms=1)
        guardian.before(said)
        assert there.read() == "W"
        assert opened(there.cleanup) == last_words(said)
        assert opened(there.cleanup).groups[0].released == claim
        guardian.after(said)
        assert there.read() == ""

    def test_a_want_is_covered_after_it_was_sent_and_its_claim_then_waits_for_nothing(
        self, left: tuple[GuardianChannel, Left]
    ) -> None:
        guardian, there = left
        guardian.after(beat(1))
        there.read()
        want = beat(2, want=Ballot(4, "A"))
        guardian.before(want)
        assert there.read() == ""
        guardian.after(want)
        assert there.read() == "W"
        for said in (beat(3, claim=Ballot(4, "A")), beat(4, claim=Ballot(4, "A"), held_ms=7, active=True)):
            guardian.before(said)
            guardian.after(said)
        assert there.read() == ""
        assert opened(there.cleanup).groups[0].released == Ballot(4, "A")

    def test_what_is_released_stays_released_without_a_word(self, left: tuple[GuardianChannel, Left]) -> None:
        guardian, there = left
        guardian.before(beat(1, claim=Ballot(4, "A")))
        there.read()
        guardian.after(beat(2, released=Ballot(4, "A")))
        assert there.read() == ""

    def test_a_raised_ballot_is_a_claim_like_any_other(self, left: tuple[GuardianChannel, Left]) -> None:
        guardian, there = left
        guardian.before(beat(1, claim=Ballot(4, "A")))
        guardian.before(beat(2, claim=Ballot(6, "A")))
        assert there.read() == "WW"
        assert opened(there.cleanup).groups[0].released == Ballot(6, "A")

    def test_another_key_is_used_with_the_next_heartbeat(self, left: tuple[GuardianChannel, Left]) -> None:
        guardian, there = left
        guardian.after(beat(1, claim=Ballot(4, "A")))
        there.read()
        guardian.seal_with(Sealer(keys=(b"j" * 32,), cluster="c", node="A", boot=7))
        said = beat(2, claim=Ballot(4, "A"))
        guardian.before(said)
        assert there.read() == ""
        guardian.after(said)
        assert there.read() == "W"

    def test_a_guardian_that_does_not_read_gets_the_newest_when_it_does(
        self, left: tuple[GuardianChannel, Left]
    ) -> None:
        guardian, there = left
        last = 20_000
        for seq in range(1, last):
            guardian.before(beat(seq, claim=Ballot(seq, "A")))  # and never waits
        there.read()
        guardian.after(beat(last, claim=Ballot(last - 1, "A")))
        there.read()
        assert opened(there.cleanup).groups[0].released == Ballot(last - 1, "A")

    def test_addresses_links_and_lock(self, left: tuple[GuardianChannel, Left], tmp_path: Path) -> None:
        guardian, there = left
        guardian.name_addresses([NOWHERE, NOWHERE, bytes(16)])
        with udp() as ear, udp() as mouth:
            guardian.lend([(mouth, (ear.getsockname(),))])
            guardian.lend([(mouth, (ear.getsockname(),))])  # the same: not sent again
            guardian.after(beat(1, claim=Ballot(1, "A")))
            assert there.read() == "ALW"
            mouth.close()  # the guardian has its own
            assert there.cleanup.speak() == (1, "")
            assert ear.recv(2000) == there.cleanup.words[0]
        assert there.cleanup.addresses == sorted([NOWHERE, bytes(16)])
        assert not there.cleanup.is_in_force  # nobody has introduced itself

    def test_a_link_that_was_closed_before_it_could_be_lent_is_left_out(
        self, left: tuple[GuardianChannel, Left]
    ) -> None:
        guardian, there = left
        with udp() as mouth:
            closed = udp()
            closed.close()
            guardian.lend([(closed, ())])
            assert there.read() == ""
            guardian.lend([(mouth, ())])
            assert there.read() == "L"

    def test_without_a_guardian_nothing_is_done(self) -> None:
        guardian = GuardianChannel()
        guardian.name_addresses([NOWHERE])
        guardian.before(beat(1, claim=Ballot(1, "A")))
        guardian.after(beat(1, claim=Ballot(1, "A")))
        guardian.void()
        assert guardian.pid is None

    def test_it_notices_that_the_guardian_has_died(self) -> None:
        async def live() -> bool:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            guardian = GuardianChannel(theirs)
            guardian.seal_with(sealer())
            abandoned = asyncio.Event()
            guardian.name_us(node="A", lease_s=0.35, abandoned=abandoned.set)
            await guardian.open()
            assert guardian.pid == os.getppid()
            ours.close()
            guardian.before(beat(1, claim=Ballot(1, "A")))  # nobody is there to take it: no error
            async with asyncio.timeout(PATIENCE_S):
                await abandoned.wait()
            theirs.close()
            return guardian.pid is None and guardian.is_abandoned

        assert asyncio.run(live())


class TestLinks:
    """A unicast port is not shared, and the guardian has a copy of the socket that is bound to it."""

    @staticmethod
    def _port() -> int:
        with udp() as sock:
            return int(sock.getsockname()[1])

    def test_a_link_opens_anew_while_the_guardian_still_has_the_former_socket(self) -> None:
        async def live() -> bytes:
            port, heard = self._port(), asyncio.Queue[bytes]()
            plan = LinkPlan(Binding("127.0.0.1", socket.AF_INET, "127.0.0.1", port), ("127.0.0.1",))
            link = Link(
                plan,
                loop=asyncio.get_running_loop(),
                heard=lambda datagram, _: heard.put_nowait(datagram),
                dropped=lambda _: None,
            )
            link.open()
            outlet = link.outlet()
            assert outlet is not None
            with outlet[0].dup():
                link.open()
                assert link.status().why == ""
                link.send([b"to myself"])
                async with asyncio.timeout(PATIENCE_S):
                    found = await heard.get()
            link.close()
            return found

        assert asyncio.run(live()) == b"to myself"

    def test_the_port_of_a_living_link_is_nobody_elses(self) -> None:
        async def live() -> str:
            plan = LinkPlan(Binding("127.0.0.1", socket.AF_INET, "127.0.0.1", self._port()), ())
            loop = asyncio.get_running_loop()
            links = [Link(plan, loop=loop, heard=lambda *_: None, dropped=lambda _: None) for _ in range(2)]
            for link in links:
                link.open()
            why = links[1].status().why
            for link in links:
                link.close()
            return why

        assert "is taken" in asyncio.run(live())


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(PATIENCE_S)
    return sock
