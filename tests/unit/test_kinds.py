"""Each kind of event is declared once; the document, the log, the history and the code agree on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from haagent.core.kinds import Kind, Severity, severity_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
TABLES = {
    "severities": [
        "| severity | journal priority | means |",
        "|---|---|---|",
        *(
            f"| `{severity}` | {priority} | {severity.meaning} |"
            for severity, priority in zip(Severity, (6, 4, 3), strict=True)
        ),
    ],
    "kinds": [
        "| kind | severity | means |",
        "|---|---|---|",
        *(f"| `{kind}` | {kind.severity} | {kind.meaning} |" for kind in Kind),
    ],
}


def written(document: str) -> str:
    """The document as it should be."""
    for mark, lines in TABLES.items():
        table = "\n".join([f"<!-- {mark} -->", *lines, f"<!-- /{mark} -->"])
        document = re.sub(f"<!-- {mark} -->\n.*<!-- /{mark} -->", lambda _, table=table: table, document, flags=re.S)
    return document


def test_the_document_has_the_declared_kinds() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == written(document), "`python -m tests.unit.test_kinds` brings it up to date"


def test_severities_are_ordered() -> None:
    assert [one.value for one in Severity if one.reaches(Severity.WARNING)] == ["warning", "error"]
    assert all(one.reaches(Severity.INFO) for one in Severity)
    assert not Severity.WARNING.reaches(Severity.ERROR)


def test_a_kind_of_a_newer_release_is_ordinary() -> None:
    assert severity_of("teleported") is Severity.INFO


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_one_short_word_and_a_clause(kind: Kind) -> None:
    assert re.fullmatch("[a-z_]{2,9}", kind), "lines of `haagent events` stand below one another"
    assert severity_of(kind.value) is kind.severity
    assert kind.meaning[0].islower()
    assert not kind.meaning.endswith(".")


def test_a_hung_agent_and_a_gate_that_stays_shut_are_errors() -> None:
    assert Kind.LAPSED.severity is Severity.ERROR
    assert Kind.BLOCKED.severity is Severity.ERROR
    assert Kind.GATE.severity is Severity.WARNING


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
