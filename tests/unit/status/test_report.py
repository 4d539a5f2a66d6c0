"""What `status` tells: the keys a program relies on, and the text a person reads."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from haagent.agent.realtime import Scheduling
from haagent.cli.events import line
from haagent.cli.layout import duration, status_text
from haagent.cli.style import Style
from haagent.core.group.transitions import GroupState
from haagent.core.messages import Record
from haagent.core.view import MemberState
from haagent.status.report import lately
from tests.support.small_agent import ON_B, SINCE, SmallAgent, group, member

PLAIN = Style()


def facts_of(**changes: Any) -> dict[str, Any]:
    agent = SmallAgent()
    agent.now = msgspec.structs.replace(agent.now, **changes)
    facts = agent.status()
    # The test's cluster is not sealed, which is a warning of its own.
    facts["warnings"] = [text for text in facts["warnings"] if "insecure" not in text]
    return facts


def text_of(facts: dict[str, Any], **options: Any) -> str:
    return status_text(facts, style=PLAIN, now=SINCE + 7_445, **options)


def test_keys_of_the_contract() -> None:
    facts = facts_of()
    keys = "cluster node leader quorate on_partition maintenance members groups sessions pids jitter_ms"
    assert facts.keys() >= set(keys.split())
    assert facts["members"][0].keys() >= {"name", "state", "address", "last_heard_ms", "version"}
    keys = "name holder state since addresses backend ballot lease_ms why failures"
    assert [each["name"] for each in facts["groups"]] == ["web"]
    assert facts["groups"][0].keys() >= set(keys.split())
    assert facts["groups"][0]["penalties"] == {}
    assert facts["pids"] == {"guardian": None, "agent": 4711, "store": None}
    assert facts["counters"] == {"dropped_malformed": 3}
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts


GOLDEN = """\
Cluster shop, seen from A: quorum, leader A, on_partition consistent.

MEMBER  STATE    ADDRESS     HEARD      LINKS  VERSION
A       online   10.20.1.10  here       -      0.1.0
B       online   10.20.1.11  43 ms ago  eth0   0.1.0
W       witness  10.20.1.12  43 ms ago  eth0   0.1.0

GROUP  STATE   HOLDER  FOR        LEASE   ADDRESSES
web    active  A       2 h 4 min  312 ms  10.20.1.100/24
                                          fd00:20::100/64

web: this node holds it: first in `prefer`."""


def test_text_when_all_is_well() -> None:
    assert text_of(facts_of()) == GOLDEN


GOLDEN_TROUBLE = """\
Cluster shop, seen from A: no quorum, no leader, on_partition consistent.

MEMBER  STATE    ADDRESS     HEARD          LINKS  VERSION
A       online   10.20.1.10  here           -      0.1.0
B       offline  10.20.1.11  3 min 2 s ago  none   0.1.0
W       offline  10.20.1.12  never          none

GROUP  STATE   HOLDER  FOR  LEASE  ADDRESSES
web    unheld  nobody  -    -      10.20.1.100/24
                                   fd00:20::100/64

web: nobody holds it: only A of A, B, W is heard; failures: A 2 (`haagent clear
  web` forgets them); failing checks weigh: A 30, B 5; this node is not fit:
  eth0 has no carrier.

! Maintenance is on: nothing moves, and no node acts on failures. End it with
  `haagent maintenance off`.
! No quorum: A sees only A. It releases its groups, and takes none until a
  majority of 3 is back. Missing: B, W.
! web: nobody holds it: only A of A, B, W is heard.
! B's file differs from A's in: groups.web.addresses, nodes.C; put the same file
  on every node, then `haagent reload` on each."""


def test_text_names_the_redis_behind_the_door() -> None:
    facts = facts_of()
    told = {"store": "redis", "ready": True, "clients": 3, "listen": "127.0.0.1:6380", "peers": []}
    facts["sessions"] = told | {"master": "10.0.0.5:6379"}
    assert "\nSessions on A: in Redis at 10.0.0.5:6379; 3 clients at 127.0.0.1:6380." in text_of(facts)


def test_text_when_much_is_wrong() -> None:
    nobody = group(
        "web",
        holder="",
        state=GroupState.IDLE,
        active=False,
        since=None,
        ballot=None,
        lease_s=None,
        why="nobody holds it: only A of A, B, W is heard",
        failures={"A": 2},
        penalties={"A": 30, "B": 5},
        eligible=False,
        why_not="eth0 has no carrier",
    )
    lost = {"state": MemberState.OFFLINE, "links": ()}
    facts = facts_of(
        leader="",
        quorate=False,
        voters=("A", "B", "W"),
        maintenance=True,
        groups=(nobody,),
        members=(
            member("A"),
            member(
                "B",
                **lost,
                last_heard_s=182.0,
                config_matches=False,
                config_differs=("groups.web.addresses", "nodes.C"),
            ),
            member("W", **lost, last_heard_s=None, version=""),
        ),
    )
    text = text_of(facts)
    assert text == GOLDEN_TROUBLE
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "active"),
        ({"state": GroupState.YIELDING}, "yielding"),
        (ON_B, "active"),
        (ON_B | {"active": False}, "taking"),
        ({"holder": "", "state": GroupState.WANTING}, "wanting"),
        ({"holder": "", "state": GroupState.IDLE}, "unheld"),
    ],
)
def test_state_is_told_for_the_cluster(changes: dict[str, Any], state: str) -> None:
    assert facts_of(groups=(group("web", **changes),))["groups"][0]["state"] == state


def test_nobody_ever_heard_names_the_likely_cause() -> None:
    agent = SmallAgent()
    alone = (member("A"), member("B", last_heard_s=None), member("W", last_heard_s=None))
    agent.now = msgspec.structs.replace(agent.now, members=alone)
    assert any("UDP port 7265" in text for text in agent.status()["warnings"])
    agent.counted["dropped_unknown_key"] = 5
    assert any("sealed with another key" in text for text in agent.status()["warnings"])


def test_what_is_over_is_told_for_ten_minutes_the_newest_of_each() -> None:
    now = SINCE + 7_445
    history = (
        ("A", Record(1, now - 601, "blocked", "", "long ago")),
        ("A", Record(2, now - 500, "lapsed", "web", "the first")),
        ("B", Record(7, now - 400, "gate", "", "another program removed the gate's table; made again")),
        ("A", Record(3, now - 300, "lapsed", "web", "the lease ended 40 ms ago")),
        ("A", Record(4, now - 200, "failed", "web", "is told by the group's state")),
    )
    agent = SmallAgent()
    found = list(lately(msgspec.structs.replace(agent.now, history=history), now=now))
    at = [time.strftime("%H:%M:%S", time.localtime(now - ago)) for ago in (300, 400)]
    assert found == [
        f"A at {at[0]}, web: the lease ended 40 ms ago (`haagent events --severity warning`).",
        f"B at {at[1]}: another program removed the gate's table; made again (`haagent events --severity warning`).",
    ]
    agent.happen("A", Record(5, time.time(), "blocked", "", "nothing can be served"))
    assert any("nothing can be served" in text for text in agent.status()["warnings"])


@pytest.mark.parametrize(("jitter_ms", "is_told"), [(None, False), (62.0, False), (63.0, True)])
def test_a_lease_that_is_too_short_for_this_host_is_told(jitter_ms: float | None, is_told: bool) -> None:
    agent = SmallAgent()
    agent.jitter_ms = jitter_ms  # the lease is 350 ms and the interval 100: a quarter of what is between
    found = [text for text in agent.status()["warnings"] if "woken 63 ms late" in text and "realtime: true" in text]
    assert bool(found) is is_told
    agent.scheduling = Scheduling(wanted=True, realtime=True, why_not="memory cannot be locked")
    found = [text for text in agent.status()["warnings"] if "realtime" in text]
    assert found == ["`process: {realtime: true}` is not wholly in force: memory cannot be locked."]


def test_different_releases_are_told() -> None:
    members = (member("A"), member("B", version="0.2.0"))
    assert facts_of(members=members)["warnings"] == [
        "The nodes run different releases: A 0.1.0, B 0.2.0. Finish the upgrade."
    ]


def test_colour_changes_nothing_but_colour() -> None:
    facts = facts_of()
    coloured = status_text(facts, style=Style(coloured=True), now=SINCE + 7_445)
    assert "\x1b[32mactive\x1b[0m" in coloured
    bare = coloured
    for code in ("32", "33", "31", "1", "2", "0"):
        bare = bare.replace(f"\x1b[{code}m", "")
    assert bare == GOLDEN


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (185, "3 min 5 s"), (7_445, "2 h 4 min"), (1_047_600, "12 d 3 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_line_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"time": 1_800_000_000.25, "node": "A", "group": "web", "kind": "taken", "text": "active here"}
    assert line(event, PLAIN).endswith(".250  A    web      taken     active here")
