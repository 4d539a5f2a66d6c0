"""All checks of the doctor together, and its command; tests/netns/test_doctor.py has real hosts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from haagent.cli import main
from haagent.doctor import examination, files, timing
from haagent.doctor.context import Subject
from haagent.doctor.examination import CHECKS, Check, examine
from haagent.doctor.finding import Finding, Severity, ok
from tests.support.bare_host import CONFIG, only, sysctl


class TestExamination:
    def test_each_check_has_a_name_of_its_own(self) -> None:
        names = [check.name for check in CHECKS]
        assert len(set(names)) == len(names)

    def test_all_of_them_can_look_at_a_bare_host(self, tmp_path: Path) -> None:
        bare = Subject(None, root=tmp_path, is_usual_place=False)
        found = asyncio.run(examine(bare))
        assert all(finding.severity is not Severity.ERROR for finding in found)
        assert {finding.check for finding in found} >= {"configuration", "kernel", "jitter"}

    def test_what_hangs_is_told_and_the_others_are_not_lost(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hangs(_: Subject) -> AsyncIterator[Finding]:
            yield ok("so far")
            await asyncio.sleep(60)

        async def fails(_: Subject) -> AsyncIterator[Finding]:
            raise PermissionError(13, "Permission denied", "/proc/x")
            yield ok("never")

        checks = (Check("slow", hangs), Check("broken", fails), Check("key", files.key))
        monkeypatch.setattr(examination, "LIMIT_S", 0.05)
        found = asyncio.run(examine(subject, checks))
        told = [(finding.check, finding.severity) for finding in found]
        assert told[:2] == [("slow", Severity.WARNING), ("broken", Severity.INFO)]
        assert ("slow", Severity.OK) in told
        assert ("key", Severity.OK) in told

    def test_the_worst_comes_first_and_says_what_to_do(self, subject: Subject) -> None:
        subject.links = {}
        sysctl(subject, "disable_ipv6", 1, family="ipv6")
        checks = tuple(check for check in examination.CHECKS if check.name in ("state-dir", "interfaces", "ipv6"))
        found = asyncio.run(examine(subject, checks))
        order = list(Severity)
        assert [order.index(one.severity) for one in found] == sorted(order.index(one.severity) for one in found)
        assert all(one.why and one.mend for one in found if one.severity in (Severity.ERROR, Severity.WARNING))


class TestTiming:
    @pytest.mark.parametrize(
        ("worst_s", "severity"), [(0.001, Severity.OK), (0.1, Severity.WARNING), (0.3, Severity.ERROR)]
    )
    def test_late_against_the_lease(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch, worst_s: float, severity: Severity
    ) -> None:
        async def printed(*_: str) -> bytes:
            return str(worst_s).encode()

        monkeypatch.setattr(timing, "output_of", printed)
        monkeypatch.setattr(timing, "AFTER_S", 0.0)
        assert only(timing.jitter, subject).severity is severity


class TestCommand:
    def test_a_configuration_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--config", str(tmp_path / "none.yaml"), "--json"]) == 2
        assert json.loads(capsys.readouterr().err)["error"]["status"] == 2

    def test_errors_are_status_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = tmp_path / "none.key"
        file = tmp_path / "haagent.yaml"
        file.write_text(CONFIG.format(key=key))
        chosen = tuple(check for check in CHECKS if check.name in ("configuration", "key"))
        monkeypatch.setattr("haagent.doctor.examination.examine.__defaults__", (chosen,))
        places = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
        assert main(["doctor", "--config", str(file), "--node", "A", "--json", *places]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["ok"], told["node"], told["counts"]["error"]) == (False, "A", 1)
        assert told["findings"][0]["check"] == "key"
        assert "haagent keygen" in told["findings"][0]["mend"]
        assert main(["doctor", "--config", str(file), "--node", "A", *places]) == 1
        assert capsys.readouterr().out.startswith("error    key: ")
