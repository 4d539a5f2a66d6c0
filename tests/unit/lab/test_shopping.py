"""What is missing for the story of a session is told before anything is built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.lab import LabError, shopping


def test_the_shop_of_this_repository_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, path: f"/usr/bin/{tool}")
    shopping.require(shopping.default_shop())


@pytest.mark.parametrize(
    ("shop", "complaint"),
    [
        ([sys.executable, "nowhere/shop.py"], "there is no nowhere/shop.py; the shop is in examples/shop"),
        (["nowhere/bin/python", "shop.py"], "there is no nowhere/bin/python; `make lab-sessions` installs"),
    ],
)
def test_what_is_missing_of_the_shop(monkeypatch: pytest.MonkeyPatch, shop: list[str], complaint: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, path: tool if tool == "haproxy" or Path(tool).exists() else None)
    with pytest.raises(LabError, match=complaint):
        shopping.require(shop)


def test_without_a_balancer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, path: None)
    with pytest.raises(LabError, match="the balancer is missing: apt install haproxy"):
        shopping.require(shopping.default_shop())


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--shop", "x"], "--shop goes with --sessions"),
        (["--sessions", "--nodes", "1"], "--sessions needs two nodes"),
    ],
)
def test_options_that_make_no_sense(words: list[str], complaint: str) -> None:
    run = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "lab", "demo"]
    done = subprocess.run([*run, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
