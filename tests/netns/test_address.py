"""The address room on a real kernel, each story in an anonymous network namespace that ends with its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns.address_scenarios import STORIES

ROOT = Path(__file__).resolve().parents[2]
UNSHARE = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def _can_make_namespaces() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not _can_make_namespaces(), reason="no root, and no unprivileged user namespaces"),
]


@pytest.mark.parametrize("story", STORIES)
def test_address(story: str) -> None:
    command = [*UNSHARE, sys.executable, "-X", "dev", "-m", "tests.netns.address_scenarios", story]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "was never" not in done.stderr, done.stderr
