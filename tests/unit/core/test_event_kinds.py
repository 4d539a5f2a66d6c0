"""Each kind of event is declared once; the document, the log, the history and the code agree on it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.core.event_kinds import Kind, Severity, declared, severity_of

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "reference" / "events.md"
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
    assert document == written(document), "`python -m tests.unit.core.test_kinds` brings it up to date"


def test_severities_are_ordered() -> None:
    assert [one.value for one in Severity if one.reaches(Severity.WARNING)] == ["warning", "error"]
    assert all(one.reaches(Severity.INFO) for one in Severity)
    assert not Severity.WARNING.reaches(Severity.ERROR)


def test_a_kind_of_a_newer_release_is_ordinary() -> None:
    assert severity_of("teleported") is Severity.INFO


def test_a_plug_in_may_say_only_what_is_declared() -> None:
    assert declared("drift") is Kind.DRIFT
    assert declared("teleported") is Kind.FAILED
    assert declared(["drift"]) is Kind.FAILED


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


NOTING = {"note", "_note", "_noted", "_tell", "_say", "_complain", "_say_seldom", "Noticed"}  # what takes a kind
CODE = sorted(path for path in (ROOT / "haagent").rglob("*.py") if path.name != "event_kinds.py")


def words_of(call: ast.Call) -> Iterator[ast.Constant]:
    """The strings that may be the kind: in the first two places, alone or as one of two."""
    for argument in [*call.args[:2], *(keyword.value for keyword in call.keywords if keyword.arg == "kind")]:
        for node in ast.walk(argument) if isinstance(argument, ast.IfExp) else [argument]:
            if isinstance(node, ast.Constant) and node.value in set(Kind):
                yield node


def test_no_kind_is_written_as_a_word() -> None:
    """The type checker refuses one that is not declared; that holds as long as none comes as text."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {word.value}"
        for path in CODE
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in NOTING
        for word in words_of(call)
    ]
    assert found == []


def test_the_document_has_every_counter() -> None:
    prefixes = {"gate": "gate_", "store": "sessions_replica_"}
    counted = {
        f"{prefixes.get(path.parent.name, '')}{name}"
        for path in CODE
        if "peerlink" not in path.parts  # it counts causes
        for name in re.findall(r'counters\["(\w+)"\]', path.read_text(encoding="utf-8"))
    }
    told = set(
        re.findall(r"^\| `([a-z_]+)` \| ", DOCUMENT.read_text(encoding="utf-8").partition("## Counters")[2], re.M)
    )
    assert told == counted | {"stray_exceptions"}


def test_every_kind_is_used() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in CODE)
    assert [kind.name for kind in Kind if f"Kind.{kind.name}" not in code] == []


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
