"""The echo rule: who is alive, and whose word counts."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core import limits
from haagent.core.membership import MAX_STRANGERS, Membership, Verdict
from haagent.core.messages import GroupBeat, Heard, Heartbeat
from haagent.core.settings import NodeSettings, Settings

ME, LIFE, NEXT_LIFE = 11, 22, 33  # boots: ours, B's, and B's after a restart
SETTINGS = Settings(
    cluster="c",
    me="A",
    nodes=tuple(NodeSettings(name) for name in "ABC"),
    groups=(),
    interval_s=0.1,
    lease_s=0.35,
    alone_after_s=5.0,
    start_grace_s=1.0,
    failure_expiry_s=600.0,
)
DEAD_AFTER_S = SETTINGS.dead_after_s


def beat(seq: int, *, echo: int | None = None, boot: int = LIFE, to: int = ME, **more: object) -> Heartbeat:
    heard = {} if echo is None else {"A": Heard(to, echo)}
    plain = Heartbeat(cluster="c", node="B", boot=boot, seq=seq, interval_ms=100, lease_ms=350, heard=heard)
    return msgspec.structs.replace(plain, **more)


def members(*sent: float) -> Membership:
    """Our heartbeats 1, 2, ... went out at these instants."""
    membership = Membership.among(SETTINGS, ME)
    for seq, at in enumerate(sent, start=1):
        membership.sent(seq, at)
    return membership


def test_a_life_that_has_not_echoed_us_is_a_stranger_and_is_echoed() -> None:
    membership = members(0.0)
    assert membership.hear(0.0, beat(5), "eth0") is Verdict.STRANGER
    assert membership.next_echoes() == {"B": Heard(LIFE, 5, 5)}, "it was not read"
    assert membership.alive_names(0.0) == ["A"]
    assert membership.peers["B"].beat is None


def test_a_fresh_echo_confirms_the_life() -> None:
    membership = members(0.0)
    assert membership.hear(0.01, beat(5, echo=1), "eth0") is Verdict.NEW
    assert membership.alive_names(0.01) == ["A", "B"]
    assert membership.next_echoes() == {"B": Heard(LIFE, 5)}


def test_alive_lasts_from_when_we_sent_what_was_echoed() -> None:
    membership = members(0.0)
    membership.hear(0.2, beat(5, echo=1), "eth0")  # it was long under way
    assert membership.next_death(0.2) == DEAD_AFTER_S
    assert membership.peers["B"].is_alive(DEAD_AFTER_S - 0.001)
    assert not membership.peers["B"].is_alive(DEAD_AFTER_S)
    assert membership.next_death(DEAD_AFTER_S) == float("inf")


def test_an_echo_too_old_confirms_nobody() -> None:
    membership = members(0.0)
    assert membership.hear(DEAD_AFTER_S, beat(5, echo=1), "eth0") is Verdict.STRANGER


def test_an_echo_of_an_earlier_life_of_ours_confirms_nobody() -> None:
    assert members(0.0).hear(0.0, beat(5, echo=1, to=ME - 1), "eth0") is Verdict.STRANGER


def test_a_copy_or_an_older_one_is_old_but_shows_that_the_link_works() -> None:
    membership = members(0.0)
    membership.hear(0.0, beat(5, echo=1), "eth0")
    assert membership.hear(0.1, beat(5, echo=1), "eth1") is Verdict.OLD
    assert membership.hear(0.1, beat(4, echo=1), "eth1") is Verdict.OLD
    assert membership.peers["B"].links == {"eth0": 0.0, "eth1": 0.1}


def test_in_a_confirmed_life_an_old_echo_is_read_but_does_not_prolong() -> None:
    membership = members(0.0)
    membership.hear(0.0, beat(5, echo=1), "eth0")
    later = beat(6, echo=1, groups=(GroupBeat("web"),))
    assert membership.hear(1.0, later, "eth0") is Verdict.NEW
    assert "web" in membership.peers["B"].groups
    assert not membership.peers["B"].is_alive(1.0)


def test_an_echo_that_came_out_of_order_never_shortens() -> None:
    membership = members(0.0, 0.1)
    membership.hear(0.1, beat(5, echo=2), "eth0")
    membership.hear(0.11, beat(6, echo=1), "eth0")
    assert membership.next_death(0.2) == 0.1 + DEAD_AFTER_S


def test_a_new_life_replaces_the_old_one_for_good() -> None:
    membership = members(0.0, 0.05)
    membership.hear(0.0, beat(5, echo=1), "eth0")
    assert membership.hear(0.1, beat(1, echo=2, boot=NEXT_LIFE), "eth0") is Verdict.NEW
    assert membership.peers["B"].seq == 1
    assert membership.hear(0.1, beat(6, echo=1), "eth0") is Verdict.OLD, "a life that was followed never comes back"
    assert membership.peers["B"].boot == NEXT_LIFE


def test_a_recording_does_not_displace_the_living() -> None:
    membership = members(0.0)
    membership.hear(0.0, beat(5, echo=1), "eth0")
    assert membership.hear(0.1, beat(900, boot=99), "eth0") is Verdict.STRANGER
    assert membership.next_echoes() == {"B": Heard(LIFE, 5)}, "only a dead peer is given up for a stranger"
    assert membership.hear(1.0, beat(900, boot=99), "eth0") is Verdict.STRANGER
    assert membership.next_echoes() == {"B": Heard(99, 900, 900)}
    assert membership.hear(1.0, beat(6), "eth0") is Verdict.NEW
    assert membership.next_echoes() == {"B": Heard(LIFE, 6)}, "the known life speaks again"


def test_recordings_do_not_hide_the_stranger_that_is_real() -> None:
    """Each gets its echo in turn, and however many there are, only a few are kept."""
    membership = members(0.0)
    for recording in range(50):
        membership.hear(1.0, beat(900, boot=1000 + recording), "eth0")
    membership.hear(1.0, beat(1, boot=NEXT_LIFE), "eth0")
    assert len(membership.peers["B"].strangers) == MAX_STRANGERS
    echoed = [membership.next_echoes()["B"] for _ in range(MAX_STRANGERS)]
    assert Heard(NEXT_LIFE, 1, 1) in echoed


def test_who_says_goodbye_is_dead_at_once() -> None:
    membership = members(0.0)
    membership.hear(0.0, beat(5, echo=1), "eth0")
    assert membership.hear(0.1, beat(6, echo=1, stopping=True), "eth0") is Verdict.NEW
    assert membership.alive_names(0.1) == ["A"]


def test_what_we_sent_long_ago_is_forgotten() -> None:
    membership = members(0.0, 0.5, 1.0)
    assert membership.sent_at(ME, 1) is None
    assert membership.sent_at(ME, 2) == 0.5
    assert membership.sent_at(LIFE, 2) is None


def test_a_late_datagram_of_a_life_that_has_ended_does_not_bring_it_back() -> None:
    """What it echoes is older than what its successor has echoed."""
    membership = members(0.0, 0.05)
    membership.hear(0.06, beat(1, echo=2, boot=NEXT_LIFE), "eth0")
    assert membership.hear(0.07, beat(5, echo=1), "eth0") is Verdict.STRANGER
    assert membership.peers["B"].boot == NEXT_LIFE


# ---------------------------------------------------------------------- slices


def a_slice(seq: int, part: int, *groups: str, parts: int = 2, echo: int = 1, **more: object) -> Heartbeat:
    return beat(seq, echo=echo, part=part, parts=parts, groups=tuple(map(GroupBeat, groups)), **more)


def test_each_slice_of_the_newest_heartbeat_is_read_once_over_whatever_link() -> None:
    membership = members(0.0)
    assert membership.hear(0.0, a_slice(5, 1, "db"), "eth0") is Verdict.NEW
    assert membership.hear(0.0, a_slice(5, 1, "db"), "eth1") is Verdict.OLD
    assert not membership.refused, "a copy over another link is none that was played back"
    assert membership.hear(0.0, a_slice(5, 0, "web"), "eth1") is Verdict.NEW
    assert set(membership.peers["B"].groups) == {"web", "db"}
    assert membership.hear(0.0, a_slice(5, 0, "web"), "eth1") is Verdict.OLD
    assert membership.refused == {"replayed": 1}
    assert membership.hear(0.1, a_slice(6, 0, "web"), "eth0") is Verdict.NEW
    assert membership.hear(0.1, a_slice(5, 2, "late", parts=3), "eth2") is Verdict.OLD


def test_a_slice_replaces_the_groups_in_it_and_no_others() -> None:
    membership = members(0.0)
    for seq, why in ((5, "first"), (6, "second")):
        said = GroupBeat("web", why_not=why)
        membership.hear(0.0, beat(seq, echo=1, part=0, parts=2, groups=(said,)), "eth0")
        if seq == 5:
            membership.hear(0.0, a_slice(5, 1, "db"), "eth0")
    peer = membership.peers["B"]
    assert (peer.groups["web"].why_not, peer.groups["db"]) == ("second", GroupBeat("db"))
    assert (peer.told["web"].seq, peer.told["db"].seq) == (6, 5)


def test_what_is_said_of_a_group_lives_as_long_as_a_peer_of_whom_no_more_was_heard() -> None:
    membership = members(0.0, 0.1, 0.2)
    membership.hear(0.0, a_slice(5, 0, "web"), "eth0")
    for seq, at in ((5, 0.0), (6, 0.1), (7, 0.2)):
        membership.hear(at, a_slice(seq, 1, "db", echo=seq - 4), "eth0")
    peer = membership.peers["B"]
    assert membership.next_death(0.2) == DEAD_AFTER_S, "whoever counts on what it said of `web` must look again"
    assert peer.speaks_of("web", DEAD_AFTER_S - 0.001)
    assert not peer.speaks_of("web", DEAD_AFTER_S)
    assert peer.speaks_of("db", DEAD_AFTER_S)
    assert membership.next_death(DEAD_AFTER_S) == 0.2 + DEAD_AFTER_S


def test_an_echo_in_another_slice_counts_for_all_that_was_said_at_the_same_moment() -> None:
    """With dozens of nodes the echoes are spread over the slices, in whatever order these come."""
    membership = members(0.0, 0.1)
    membership.hear(0.0, a_slice(4, 0, "old"), "eth0")
    membership.hear(0.1, a_slice(5, 0, "web", echo=1, parts=3), "eth0")
    peer = membership.peers["B"]
    assert not peer.speaks_of("web", DEAD_AFTER_S)
    membership.hear(0.1, a_slice(5, 1, "db", echo=2, parts=3), "eth0")
    assert peer.speaks_of("web", DEAD_AFTER_S)
    assert not peer.speaks_of("old", DEAD_AFTER_S), "that was said before"


def test_a_group_is_gone_when_a_whole_heartbeat_does_not_name_it() -> None:
    membership = members(0.0)
    membership.hear(0.0, beat(5, echo=1, groups=(GroupBeat("web"), GroupBeat("db"))), "eth0")
    membership.hear(0.0, a_slice(6, 0, "web"), "eth0")
    assert set(membership.peers["B"].groups) == {"web", "db"}, "it may be in the other slice"
    membership.hear(0.0, a_slice(6, 1, "new"), "eth0")
    assert set(membership.peers["B"].groups) == set(membership.peers["B"].told) == {"web", "new"}


def test_an_echo_says_how_long_ago_all_was_heard() -> None:
    membership = members(0.0)
    membership.hear(0.0, a_slice(5, 0, "web"), "eth0")
    assert membership.next_echoes() == {"B": Heard(LIFE, 5, 5)}, "nothing whole yet"
    membership.hear(0.0, a_slice(5, 1, "db"), "eth0")
    assert membership.next_echoes() == {"B": Heard(LIFE, 5, 0)}
    membership.hear(0.0, a_slice(7, 0, "web"), "eth0")
    assert membership.next_echoes() == {"B": Heard(LIFE, 7, 2)}


def test_what_is_echoed_and_what_is_known_are_two() -> None:
    membership = members(0.0, 0.05, 0.1)
    membership.hear(0.1, beat(5, heard={"A": Heard(ME, 3, 2)}), "eth0")
    assert (membership.peers["B"].echoed_seq, membership.peers["B"].known_seq) == (3, 1)
    membership.hear(0.1, beat(6, heard={"A": Heard(ME, 3, -5)}), "eth0")
    assert membership.peers["B"].known_seq == 3, "nobody knows more than was sent"


def test_a_new_life_has_said_nothing_and_knows_nothing_yet() -> None:
    membership = members(0.0, 0.05)
    membership.hear(0.0, beat(5, echo=1, groups=(GroupBeat("web"),), recorded={"A": Heard(ME, 9)}), "eth0")
    assert membership.peers["B"].stored == Heard(ME, 9)
    membership.hear(0.1, a_slice(1, 1, boot=NEXT_LIFE, heard={"A": Heard(ME, 2, 2)}), "eth0")
    peer = membership.peers["B"]
    assert (peer.groups, peer.told, peer.stored, peer.whole_seq, peer.known_seq) == ({}, {}, None, 0, 0)


def test_what_its_other_slices_say_of_the_node_stays() -> None:
    membership = members(0.0)
    membership.hear(0.0, a_slice(5, 0, recorded={"A": Heard(ME, 9)}), "eth0")
    membership.hear(0.0, a_slice(5, 1, "web"), "eth0")
    assert membership.peers["B"].stored == Heard(ME, 9)


@pytest.mark.parametrize("is_one_heartbeat", [True, False])
def test_who_names_other_groups_without_end_fills_no_memory(is_one_heartbeat: bool) -> None:
    membership = members(0.0)
    for number in range(1, 100):
        names = [f"{number}-{name}" for name in range(limits.MAX_GROUPS)]
        seq, part = (1, number) if is_one_heartbeat else (number, 1)
        membership.hear(0.0, a_slice(seq, part, *names, parts=limits.MAX_PARTS), "eth0")
    peer = membership.peers["B"]
    assert len(peer.groups) == len(peer.told) <= 1 + limits.MAX_GROUPS
    assert peer.seq == seq, "and is heard"


def test_of_a_peer_that_has_other_groups_now_all_is_known() -> None:
    """As many as there can be, and none that it had before."""
    membership, half = members(0.0), limits.MAX_GROUPS // 2
    for seq, kind in ((1, "old"), (2, "new")):
        for part in (0, 1):
            names = [f"{kind}-{number}" for number in range(part * half, part * half + half)]
            membership.hear(0.0, a_slice(seq, part, *names), "eth0")
    assert len(membership.peers["B"].groups) == limits.MAX_GROUPS
