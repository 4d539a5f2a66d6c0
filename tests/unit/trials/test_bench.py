"""The figures of the benchmark: spreads, what is said where keepalived is faster, and the tables."""

from __future__ import annotations

import msgspec

from trials.bench import report, run
from trials.bench.faults import FAULTS
from trials.bench.figures import Row, cell, faster, spread
from trials.bench.products import HERE
from trials.bench.report import Report
from trials.bench.steady import Cost
from trials.bench.trial import Sample


def sample(outage: float = 2.0, dual: float = 0.0, **more: object) -> Sample:
    usual = {"taken": 3.0, "is_dual_at_end": dual > 0, "still_answers": dual > 0, "still_has_it": False}
    return msgspec.convert(
        {"outage": outage, "after": 1.0, "dual": dual, "noise": 1.5, "stall": 0.0, **usual, **more}, Sample
    )


def row(key: str, ours: list[Sample], theirs: list[Sample]) -> Row:
    return Row(key, FAULTS[key].title, FAULTS[key].what, [cell("haagent", ours), cell("keepalived", theirs)])


def test_the_p99_is_one_of_the_figures() -> None:
    assert str(spread(range(1, 201))) == "1.0 / 100.5 / 198.0 / 200.0"
    assert str(spread([7.0])) == "7.0 / 7.0 / 7.0 / 7.0"


def test_nobody_ever_took_it() -> None:
    assert cell("haagent", [sample(taken=None)] * 2).taken is None
    assert str(cell("haagent", [sample(taken=None), sample()]).taken) == "3.0 / 3.0 / 3.0 / 3.0"


def test_where_they_are_faster_is_said_with_the_reason() -> None:
    rows = [
        row("killed", [sample(3.0)], [sample(250.0)]),
        row("move", [sample(5.0)], [sample(2.0)]),
        row("all-killed", [sample(350.0)], [sample(1.5, dual=900.0)]),
    ]
    said = faster(rows, "haagent", "keepalived")
    assert [sentence.partition(":")[0] for sentence in said] == [FAULTS["move"].title, FAULTS["all-killed"].title]
    assert said[0].endswith("2.0 ms beside 5.0 ms (medians)")
    assert "because two nodes answer at once (900 ms" in said[1]


def test_a_difference_within_the_noise_is_called_one() -> None:
    said = faster([row("move", [sample(3.0)], [sample(2.0)])], "haagent", "keepalived")
    assert said == ["planned move: 2.0 ms beside 3.0 ms (medians), a difference within the noise"]


def test_the_tables() -> None:
    made = Report(
        facts=["A machine."],
        interval="100ms",
        command="make bench",
        rows=[row("all-killed", [sample(340.0)] * 3, [sample(1.5, dual=900.0)] * 3)],
        costs=[Cost("haagent", 1.0, 50.0, 70.0, 2.0), Cost("keepalived", 0.2, 4.0, 12.0, 2.0)],
    )
    written = report.markdown(made)
    assert "| every process is killed (SIGKILL) | 1.5 | 340.0 (340.0) | 0 | 1.5 (1.5) | > 900 |" in written
    assert "- Memory: 4.0 MiB beside 50.0 MiB." in written
    assert "3 of 3" in report.text(made)


def test_every_contender_is_in_the_table() -> None:
    names = {name for fault in FAULTS.values() for name in run.contenders(fault)}
    assert names == {report.OURS, report.OURS_SLOW, report.OURS_TWO, report.THEIRS, report.THEIRS_TUNED}


def test_keepalived_is_given_the_same_interval_in_each_instance() -> None:
    for file in ("keepalived.conf", "keepalived-groups.conf"):
        text = (HERE / file).read_text()
        assert text.count("advert_int $interval") == text.count("vrrp_instance ")
