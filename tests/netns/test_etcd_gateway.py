"""The gateway and a real etcd: transactions, the watch, endpoints that are away or frozen, log-in, TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.etcd_scenarios import STORIES
from tests.netns.test_address import ROOT, UNSHARE

pytestmark = [pytest.mark.netns, pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd on this host")]


@pytest.mark.parametrize("story", STORIES)
def test_etcd(story: str, tmp_path: Path) -> None:
    command = [*UNSHARE, sys.executable, "-X", "dev", "-m", "tests.netns.etcd_scenarios", story, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was never" not in done.stderr, done.stderr
    assert "Unclosed" not in done.stderr, done.stderr
