"""Options of plug-ins are validated by the plug-in's own struct, and a broken plug-in is a fault, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import msgspec
import pytest

import haagent.plugins
from haagent.config import ConfigError, Duration, GroupConfig, parse, typed_options
from haagent.config import plugins as config_plugins
from tests.unit.test_config import SMALL


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delay: Duration = Duration(1.0)


class ProbeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    interval: Duration = Duration(1.0)
    fall: int = 3
    retries: tuple[Retry, ...] = ()

    def __post_init__(self) -> None:
        if self.fall < 1:
            raise ValueError("fall: write at least 1")


class Probe:
    Options: ClassVar[type[msgspec.Struct]] = ProbeOptions

    @classmethod
    def check(cls, options: ProbeOptions, group: GroupConfig) -> list[str]:
        if options.url == "crash":
            raise RuntimeError("oops")
        return [f"{group.name} has no {options.url}"] if options.url == "bad" else []


class Other:
    Options: ClassVar[type[msgspec.Struct]] = Retry

    def check(self) -> None:
        """An instance's method of this name is the plug-in's own affair."""


class Odd:
    Options = dict


@pytest.fixture(autouse=True)
def doors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = {"probe": f"{__name__}:Probe", "other": f"{__name__}:Other", "odd": f"{__name__}:Odd"}
    names["gone"] = "no_such_module_here:Gone"
    points = [EntryPoint(name=name, value=value, group="haagent.checks") for name, value in names.items()]
    points.append(EntryPoint(name="arp", value=f"{__name__}:Other", group="haagent.backends"))

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if point.group == group and name in (None, point.name)]

    monkeypatch.setattr(haagent.plugins, "entry_points", entry_points)
    config_plugins._find.cache_clear()
    yield
    config_plugins._find.cache_clear()


def with_check(check: str) -> bytes:
    return (SMALL + "    checks:\n      app:\n" + "".join(f"        {line}\n" for line in check.splitlines())).encode()


def faults_of(check: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(with_check(check), "test.yaml")
    return [(fault.line, fault.path.removeprefix("groups.web.checks."), fault.message) for fault in caught.value.faults]


def test_options_are_kept_as_written_and_typed_on_request() -> None:
    config = parse(with_check("kind: probe\nurl: http://x/\ninterval: 500ms\nretries: [{delay: 2s}, {}]"), "")
    (check,) = config.groups["web"].checks
    assert check.options["interval"] == "500ms"
    typed: Any = typed_options(Probe, check.options)
    assert typed == ProbeOptions("http://x/", Duration(0.5), 3, (Retry(Duration(2.0)), Retry()))


def test_every_wrong_option_is_a_fault_with_its_line() -> None:
    assert faults_of("kind: probe\ninterval: 5\nfal: 2\nfall: x\nretries:\n  - {}\n  - {delay: 3}") == [
        (11, "app.url", "missing"),
        (13, "app.interval", "it needs a unit: write `5ms` or `5s`"),
        (14, "app.fal", "unknown option"),
        (15, "app.fall", "expected `int`, got `str`"),
        (18, "app.retries[1].delay", "it needs a unit: write `3ms` or `3s`"),
    ]


@pytest.mark.parametrize(
    ("check", "path", "said"),
    [
        ("kind: probe\nurl: a\nfall: 0", "app", "fall: write at least 1"),
        ("kind: probe\nurl: bad", "app", "web has no bad"),
        ("kind: probe\nurl: crash", "app", "RuntimeError: oops"),
        ("kind: gone", "app.kind", "cannot be loaded"),
        ("kind: odd", "app.kind", "not a struct"),
        ("kind: prob", "app.kind", "not an installed check"),
    ],
)
def test_what_only_the_plug_in_knows(check: str, path: str, said: str) -> None:
    ((_, where, message),) = faults_of(check)
    assert where == path
    assert said in message


def test_a_method_of_an_instance_is_not_called() -> None:
    assert parse(with_check("kind: other\ndelay: 1s"), "").groups["web"].checks[0].kind == "other"
