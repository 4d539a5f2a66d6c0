"""What the documentation says of options is what the file is read by."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from haagent.checks.link import Link
from haagent.config import Config, ConfigError, Fault, parse, read
from haagent.config import plugins as config_plugins
from haagent.config.document import Mapping
from haagent.config.place import Place
from haagent.config.schema import Key
from haagent.config.table import every_option
from tests.support.guide import block
from tests.unit.config.test_config import SMALL

DOCS = Path(__file__).parents[3] / "docs"
OPTIONS = list(every_option(Config))


def test_the_example_of_the_documentation_is_valid() -> None:
    text = (DOCS / "reference" / "configuration.md").read_text()
    start = text.index("```yaml\n") + len("```yaml\n")
    assert parse(text[start : text.index("```\n", start)].encode(), "").cluster == "shop"


@pytest.mark.parametrize(("path", "key"), OPTIONS, ids=[path for path, _ in OPTIONS])
def test_every_option_says_what_it_means_and_what_holds_without_it(path: str, key: Key) -> None:
    assert key.option.meaning
    assert key.kind.words
    assert key.option.example or not key.is_required


@pytest.mark.parametrize(("path", "key"), OPTIONS, ids=[path for path, _ in OPTIONS])
def test_every_default_is_accepted_by_its_own_kind(path: str, key: Key) -> None:
    faults: list[Fault] = []
    if key.shown and key.kind.struct is None:
        place = Place(Mapping(1, {}), path="", line=1, faults=faults)
        key.kind.read(place.imagined(key.key, key.shown))
    assert faults == []


class TestTheGuideToNewOptions:
    """Its examples are run as they are printed."""

    @pytest.fixture
    def known(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
        text = "\n".join(
            [
                "from typing import Annotated",
                "from haagent.checks import Context",
                "from haagent.config import Config, Option, Section",
                "from haagent.config.kinds import HOST_AND_PORT, PATH, duration, whole",
                block("add-an-option.md", "section"),
                "class Extended(Config, frozen=True, kw_only=True):",
                block("add-an-option.md", "line"),
                block("add-an-option.md", "plug-in"),
            ]
        )
        module = ModuleType("guide")
        monkeypatch.setitem(sys.modules, "guide", module)
        exec(text, module.__dict__)
        monkeypatch.setattr(read, "Config", module.Extended)
        monkeypatch.setattr(Link, "Options", module.TemperatureOptions)
        config_plugins._find.cache_clear()
        yield module.__dict__
        config_plugins._find.cache_clear()

    def test_a_section(self, known: dict[str, Any]) -> None:
        assert parse(SMALL.encode(), "").pages is None  # type: ignore[attr-defined]
        pages = parse((SMALL + block("add-an-option.md", "file")).encode(), "").pages  # type: ignore[attr-defined]
        assert pages == known["PagesConfig"](listen="10.20.1.10:80", keep_s=10.0)
        with pytest.raises(ConfigError) as caught:
            parse(("pages: {lisen: x, keep: 10}" + SMALL).encode(), "haagent.yaml")
        assert f"{caught.value}\n" == block("add-an-option.md", "faults")

    def test_options_of_a_plug_in(self, known: dict[str, Any]) -> None:
        file = SMALL + "    checks: {heat: {kind: link, sensor: /sys/heat, %s}}\n"
        (check,) = parse((file % "most: 70").encode(), "").groups["web"].checks
        assert check.options == known["TemperatureOptions"]("/sys/heat", 70)
        known["Temperature"](None, check.options)
        with pytest.raises(ConfigError, match="from 1 to 150"):
            parse((file % "most: 700").encode(), "")
