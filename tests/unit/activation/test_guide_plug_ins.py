"""The check and the backend that docs/guide adds: the pages' own text is installed, configured and run."""

from __future__ import annotations

import asyncio
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import haagent.plugins.finding
from haagent import backends, checks
from haagent.activation.checking import Runner
from haagent.backends import BackendError
from haagent.checks import Context, Verdict
from haagent.config import CheckConfig, GroupConfig, parse
from haagent.config import plugins as config_plugins
from haagent.kernel.links import Links
from tests.support.backend_contract import BackendContract, context
from tests.support.fakes import link, run_virtual
from tests.support.guide import block
from tests.unit.config.test_config import SMALL


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "shop_checks.py").write_text(block("add-a-check.md", "check"))
    (tmp_path / "shop_backends.py").write_text(block("add-a-backend.md", "backend"))
    monkeypatch.syspath_prepend(tmp_path)
    points = []
    for page in ("add-a-check.md", "add-a-backend.md"):
        for group, names in tomllib.loads(block(page, "entry point"))["project"]["entry-points"].items():
            points += [EntryPoint(name, value, group) for name, value in names.items()]
    ours = haagent.plugins.finding.entry_points

    def entry_points(*, group: str, **wanted: Any) -> list[EntryPoint]:
        ones = [one for one in points if one.group == group and wanted.get("name") in (None, one.name)]
        return [*ours(group=group, **wanted), *ones]

    monkeypatch.setattr(haagent.plugins.finding, "entry_points", entry_points)
    config_plugins._find.cache_clear()
    yield
    config_plugins._find.cache_clear()


def configured(page: str) -> GroupConfig:
    return parse((SMALL + textwrap.indent(block(page, "configuration"), "    ")).encode(), "").groups["web"]


def test_the_check_is_configured_asked_and_believed(tmp_path: Path) -> None:
    (spec,) = configured("add-a-check.md").checks
    assert (spec.name, spec.kind, spec.interval_s, spec.fall, spec.options.percent) == ("disk", "room", 30.0, 2, 10)

    async def verdict(**options: Any) -> Verdict:
        plugin: Any = checks.find("room")
        seen = Context(node="A", group="web", interface="eth0", links=Links())
        told: Verdict = await plugin(seen, plugin.Options(**options)).probe()
        return told

    assert asyncio.run(verdict(path=str(tmp_path), percent=0)).is_fit
    gone = asyncio.run(verdict(path=str(tmp_path / "none")))
    assert (gone.is_fit, gone.why) == (False, f"{tmp_path}/none: No such file or directory")


def test_a_check_of_its_kind_that_watches() -> None:
    names: dict[str, Any] = {"asyncio": asyncio, "Verdict": Verdict}
    exec(block("add-a-check.md", "watch"), names)

    class Watch:
        watch = names["watch"]

        def __init__(self, links: Any) -> None:
            self._links = links

    async def story(now: Callable[[], float]) -> list[str]:
        links, whys = Links(), []
        spec = CheckConfig(kind="eth1", name="eth1", options=None, hold_s=0.0)
        runner = Runner(spec, links, Watch, changed=lambda runner: whys.append(runner.why))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        links.learn(link("eth1", 3))
        links.forget(3)
        await runner.close()
        return whys

    assert run_virtual(story) == ["eth1 is missing", "", "eth1 is missing"]


def test_the_backend_is_configured() -> None:
    backend = configured("add-a-backend.md").backend
    assert (backend.kind, backend.options.path) == ("shared-file", "/mnt/shared/holder")


def test_the_backend_says_what_is_missing() -> None:
    plugin: Any = backends.find("shared-file")
    with pytest.raises(BackendError, match="/nowhere is not there: mount it"):
        asyncio.run(plugin(context(), plugin.Options(path="/nowhere/holder")).open())


class TestSharedFile(BackendContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "holder")

    def make(self) -> backends.Backend:
        plugin: Any = backends.find("shared-file")
        made: backends.Backend = plugin(context(), plugin.Options(path=self.path))
        return made
