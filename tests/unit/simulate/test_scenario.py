"""The language of scenarios: everything that can be said, and what is said back to what cannot."""

from __future__ import annotations

import msgspec
import pytest

from haagent.core.settings import GroupSettings, Settings
from haagent.simulate.deeds import VERBS
from haagent.simulate.language import FORMS, described, parse
from haagent.simulate.scenario import AFTER_S, Deed, Scenario, ScenarioError, read
from tests.sim.world import make_settings

ABW = make_settings(nodes="ABW", witnesses="W")
WITH_ETCD = msgspec.structs.replace(ABW, arbiter="etcd")
TWO_GROUPS = make_settings(nodes="ABW", witnesses="W", groups={"web": (), "db": ()})

EXAMPLES = {
    "start": ["start A", "start A, B and W", "START a".replace("a", "A")],
    "stop": ["stop A", "stop A back after 2s"],
    "kill": ["kill A", "kill A entirely", "kill A and B entirely back after 500ms"],
    "crash": ["crash A", "crash A back after 1m"],
    "freeze": ["freeze A", "freeze A, B for 2s"],
    "thaw": ["thaw A"],
    "cut": ["cut A from B", "cut A to B W", "cut A from B for 3s", "cut A from B heartbeats only for 3s"],
    "isolate": ["isolate A", "isolate A for 3s"],
    "heal": ["heal", "heal A", "heal A from B"],
    "lose": ["lose 30%", "lose 2.5% between A and B"],
    "delay": ["delay 5ms", "delay 5ms between A and B"],
    "fail": ["fail on A", "fail web on A, B"],
    "mend": ["mend on A", "mend web on A"],
    "unfit": ["unfit on A", "unfit web on A"],
    "fit": ["fit on A", "fit web on A"],
    "penalty": ["penalty 20 on A", "penalty 0 web on A, B"],
    "gateway": ["gateway of A lost", "gateway of A and B back"],
    "etcd": ["etcd lost", "etcd back"],
    "failover": ["failover to B", "failover web to B force", "failover web to B force via W"],
    "standby": ["standby B", "standby B via A"],
    "unstandby": ["unstandby B", "unstandby B via A"],
    "maintenance": ["maintenance on", "maintenance off force via B"],
    "confirm-down": ["confirm-down B", "confirm-down B via A"],
    "clear": ["clear", "clear web", "clear web via A"],
    "run": ["run 1.5s"],
    "until": ["until 20s"],
}


def understood(text: str, settings: Settings = ABW) -> Scenario:
    return read(text, settings, name="story.txt")


def only(text: str, settings: Settings = ABW) -> Deed:
    (deed,) = understood(text, settings).deeds
    return deed


def faults(text: str, settings: Settings = ABW) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        understood(text, settings)
    return str(caught.value).splitlines()


def test_there_is_an_example_and_a_deed_for_every_form() -> None:
    assert set(EXAMPLES) == set(FORMS)
    assert set(VERBS) == set(FORMS) - {"run", "until"}


@pytest.mark.parametrize("text", [text for each in EXAMPLES.values() for text in each])
def test_an_example_is_understood(text: str) -> None:
    settings = WITH_ETCD if "etcd" in text else ABW
    understood(text, settings)
    understood(f"at 5s: {text}" if not text.startswith("until") else text, settings)


def test_the_help_shows_every_form() -> None:
    assert all(form in described() for form, _ in FORMS.values())


def test_statements_are_separated_by_lines_and_semicolons_and_comments_are_left_out() -> None:
    scenario = understood("# a story\nat 5s cut A from B; at 9s kill B # of old age\n\nuntil 20s\n")
    assert [(deed.at_s, deed.text) for deed in scenario.deeds] == [(5.0, "cut A from B"), (9.0, "kill B")]
    assert scenario.until_s == 20.0


def test_what_is_said_is_in_the_deed() -> None:
    deed = only("at 1500ms cut A, B from W for 2s")
    assert (deed.at_s, deed.nodes, deed.others, deed.time_s, deed.said) == (
        1.5,
        ("A", "B"),
        ("W",),
        2.0,
        {"cut", "from", "for"},
    )
    deed = only("failover web to B force via W")
    assert (deed.group, deed.nodes, deed.others) == ("web", ("B",), ("W",))
    assert "force" in deed.said
    deed = only("maintenance off via B")
    assert (deed.nodes, deed.others, deed.said) == ((), ("B",), {"maintenance", "off", "via"})
    assert only("lose 12.5% between A and W").share == pytest.approx(0.125)


def test_a_statement_without_a_time_happens_with_the_one_before() -> None:
    times = [deed.at_s for deed in understood("at 5s kill A; kill B; after 2s start A; run 3s; start B").deeds]
    assert times == [5.0, 5.0, 7.0, 10.0]


def test_the_only_group_need_not_be_named() -> None:
    assert only("fail on A").group == "web"
    assert faults("fail on A", TWO_GROUPS) == [
        "story.txt:1: `fail on A`: it does not say which group; write `fail GROUP on NODES`, one of web, db"
    ]


def test_a_node_that_is_started_first_is_not_there_before() -> None:
    assert understood("at 5s start B; at 9s kill A; at 11s start A").absent == {"B"}


def test_without_an_end_there_is_time_to_see_what_follows() -> None:
    assert understood("at 5s kill A").until_s == 5.0 + AFTER_S
    slow = msgspec.structs.replace(ABW, lease_s=10.0, alone_after_s=20.0)
    assert understood("at 5s kill A", slow).until_s == 65.0


def test_all_faults_are_reported_at_once_with_what_to_write() -> None:
    text = """at 5s cut A frm B
at 3s heal; kil A
lose 120%; lose 5; penalty -5 on A
at 9 start A
failover wbe to b; standby Q
cut A from A and B
until 4s
until 8s; at 4s until 5s
"""
    assert faults(text) == [
        "story.txt:1: `cut A frm B` is not understood; write `cut NODES from|to NODES [heartbeats only] [for TIME]`",
        "story.txt:2: there is no statement `kil`; did you mean `kill`?",
        "story.txt:2: `heal`: 3s is before the statement above, at 5s; write the statements in the order of time",
        "story.txt:3: `lose 120%`: `120%` is not a percentage; write a number from `0%` to `100%`",
        "story.txt:3: `lose 5`: `5` is not a percentage; write a number from `0%` to `100%`",
        "story.txt:3: `penalty -5 on A`: `-5` is not a penalty; write a whole number, `0` for none",
        "story.txt:4: `9` is not a time; it needs a unit: write `9ms` or `9s`",
        "story.txt:5: there is no node `b`; did you mean `B`?",
        "story.txt:5: there is no group `wbe`; did you mean `web`?",
        "story.txt:5: there is no node `Q`; there are A, B, W",
        "story.txt:6: `cut A from A and B`: A is on both sides; name two different nodes",
        "story.txt:7: the end, 4s, is before the last statement; write `until 5s` or later",
        "story.txt:8: `until 8s`: line 7 names the end already; remove one of them",
        "story.txt:8: `until 5s`: `until` has a time of its own; write `until 5s` alone",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("at", "`at` has no time and no statement; write both: `at 5s kill A`"),
        ("at 5s", "`at 5s` has no statement; write one after the time: `at 5s kill A`"),
        ("at noon kill A", "`noon` is not a time; write a number and a unit, such as `100ms`, `2s`, `1m` or `1h`"),
        ("until 2h", "`until 2h`: longer than one hour; write at most `until 1h`"),
        ("run 50m; run 50m", "`run 50m`: later than one hour; write at most 1h"),
        ("etcd lost", "`etcd lost`: leases come from the nodes' votes here, not from etcd; remove it"),
        ("cut A from etcd", "there is no node `etcd`; there are A, B, W"),
        ("gateway of A is gone", "`gateway of A is gone` is not understood; write `gateway of NODES lost|back`"),
        ("frobnicate", "there is no statement `frobnicate`; write one of: start, stop, kill,"),
    ],
)
def test_a_fault_says_what_to_write(text: str, complaint: str) -> None:
    assert complaint in faults(text)[0]


def test_names_may_be_let_through_unknown() -> None:
    (deed,) = read("failover mail to Z", ABW, name="-", knows_names=False).deeds
    assert (deed.group, deed.nodes) == ("mail", ("Z",))


def test_a_cluster_without_groups_says_so() -> None:
    bare = msgspec.structs.replace(ABW, groups=(GroupSettings("leader"),))
    assert "but there is none" in faults("unfit on A", bare)[0]


def test_a_statement_that_is_not_understood_still_has_its_time() -> None:
    found: list[object] = []
    broken, sound = parse("at 5s kil A; kill A", found)  # type: ignore[arg-type]
    assert (broken.verb, broken.time, sound.verb) == ("", "5s", "kill")
    assert len(found) == 1
