"""The unit and what belongs to it: what systemd says of them, and that they mean what the program means."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from haagent.config.secret import ACCOUNT
from haagent.config.starter import DEFAULT_KEY_FILE
from haagent.control.server import GROUP
from haagent.guardian.process import HIGH_DESCRIPTOR

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "haagent.service"
MOST_EXPOSURE = 25  # tenths: what `systemd-analyze security` calls OK

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture(scope="module")
def settings() -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@needs_systemd
def test_it_is_not_exposed() -> None:
    words = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", "--no-pager", str(UNIT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


@needs_systemd
def test_systemd_understands_all_of_it(tmp_path: Path) -> None:
    """With a program in the place of ours, which need not be installed here."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/haagent", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, [])


def test_it_runs_as_the_user_that_the_program_knows(settings: dict[str, list[str]]) -> None:
    assert settings["User"] == settings["Group"] == [ACCOUNT] == [GROUP]
    assert re.search(rf"^u {ACCOUNT} ", (SYSTEMD / "haagent.sysusers.conf").read_text(), re.MULTILINE)
    assert f'subject.user !== "{ACCOUNT}"' in (SYSTEMD / "50-haagent.rules").read_text()


def test_it_has_two_capabilities(settings: dict[str, list[str]]) -> None:
    assert settings["AmbientCapabilities"] == settings["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_NET_RAW"]


def test_the_key_is_handed_over_under_its_own_name(settings: dict[str, list[str]]) -> None:
    assert settings["LoadCredential"] == [f"{DEFAULT_KEY_FILE.rpartition('/')[2]}:{DEFAULT_KEY_FILE}"]
    assert settings["SetCredential"][0].split(":")[0] == DEFAULT_KEY_FILE.rpartition("/")[2]


def test_it_leaves_room_for_what_the_guardian_does(settings: dict[str, list[str]]) -> None:
    assert int(settings["LimitNOFILE"][0]) > HIGH_DESCRIPTOR
    assert settings["NotifyAccess"] == ["all"]  # the agent speaks, and the guardian is the main process
    assert settings["StartLimitIntervalSec"] == ["0"]


def test_the_manual_tells_of_every_file() -> None:
    told = (SYSTEMD / "README.md").read_text()
    files = [file.relative_to(SYSTEMD) for file in SYSTEMD.rglob("*") if file.is_file()]
    assert [str(file) for file in files if str(file) not in told and file.name != "README.md"] == []
