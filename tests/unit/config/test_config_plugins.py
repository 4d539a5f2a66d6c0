"""Options of plug-ins are validated by the plug-in's own struct, and a broken plug-in is a fault, not a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

import haagent.plugins.finding
from haagent.config import CheckConfig, ConfigError, Duration, Fault, GroupConfig, Option, Section, parse
from haagent.config import plugins as config_plugins
from haagent.config.document import read_document
from haagent.config.kinds import NODE_ADDRESS, duration, list_of, of_text, whole
from haagent.config.place import Place
from haagent.config.plugins import plug_in
from haagent.config.schema import Draft
from haagent.config.table import rows
from tests.unit.config.test_config import SMALL


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delay: Duration = Duration(1.0)


class ProbeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    every: Duration = Duration(1.0)
    tries: int = 3
    retries: tuple[Retry, ...] = ()

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError("tries: write at least 1")
        if self.tries > 9:
            raise KeyError(self.tries)


class Probe:
    Options: ClassVar[type[msgspec.Struct]] = ProbeOptions

    async def probe(self) -> None: ...

    @classmethod
    def check(cls, options: ProbeOptions, group: GroupConfig) -> list[str]:
        if options.url == "crash":
            raise RuntimeError("oops")
        if options.url == "exit":
            raise SystemExit("usage")
        return [f"{group.name} has no {options.url}"] if options.url == "bad" else []


class Other:
    Options: ClassVar[type[msgspec.Struct]] = Retry

    async def watch(self, report: Any) -> None: ...

    def check(self) -> None:
        """An instance's method of this name is the plug-in's own affair."""


class Odd:
    Options = dict


class Idle:
    Options: ClassVar[type[msgspec.Struct]] = Retry


class BalanceOptions(Section, frozen=True):
    weight: int = 1
    required: bool = False


class Balance:
    Options: ClassVar[type[msgspec.Struct]] = BalanceOptions


class TwiceOptions(Section, frozen=True):
    kind: str = ""


class Twice:
    Options = TwiceOptions


@pytest.fixture(autouse=True)
def doors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = {"probe": f"{__name__}:Probe", "other": f"{__name__}:Other", "odd": f"{__name__}:Odd"}
    names["idle"] = f"{__name__}:Idle"
    names["twice"] = f"{__name__}:Twice"
    names["gone"] = "no_such_module_here:Gone"
    points = [EntryPoint(name=name, value=value, group="haagent.checks") for name, value in names.items()]
    points.append(EntryPoint(name="arp", value=f"{__name__}:Other", group="haagent.backends"))
    points.append(EntryPoint(name="balance", value=f"{__name__}:Balance", group="haagent.backends"))

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if point.group == group and name in (None, point.name)]

    monkeypatch.setattr(haagent.plugins.finding, "entry_points", entry_points)
    config_plugins._find.cache_clear()
    haagent.plugins.finding.load.cache_clear()
    yield
    config_plugins._find.cache_clear()
    haagent.plugins.finding.load.cache_clear()


def with_check(check: str) -> bytes:
    return (SMALL + "    checks:\n      app:\n" + "".join(f"        {line}\n" for line in check.splitlines())).encode()


def faults_of(check: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        parse(with_check(check), "test.yaml")
    return [(fault.line, fault.path.removeprefix("groups.web.checks."), fault.message) for fault in caught.value.faults]


def options_of(check: str) -> Any:
    (found,) = parse(with_check(check), "").groups["web"].checks
    return found.options


def test_the_plug_in_is_given_its_own_struct() -> None:
    options = options_of("kind: probe\nurl: http://x/\nevery: 500ms\nretries: [{delay: 2s}, {}]")
    assert options == ProbeOptions("http://x/", Duration(0.5), 3, (Retry(Duration(2.0)), Retry()))


def test_every_wrong_option_is_a_fault_with_its_line() -> None:
    assert faults_of("kind: probe\nevery: 5\ntrys: 2\ntries: x\nretries:\n  - {}\n  - {delay: 3}") == [
        (11, "app.url", "missing"),
        (13, "app.every", "`5` is not a duration"),
        (14, "app.trys", "unknown option"),
        (15, "app.tries", "expected `int`, got `str`"),
        (18, "app.retries[1].delay", "`3` is not a duration"),
    ]


@pytest.mark.parametrize(
    ("check", "path", "said"),
    [
        ("kind: probe\nurl: a\ntries: 0", "app", "tries: write at least 1"),
        ("kind: probe\nurl: bad", "app", "web has no bad"),
        ("kind: probe\nurl: crash", "app", "RuntimeError: oops"),
        ("kind: probe\nurl: exit", "app", "SystemExit: usage"),
        ("kind: probe\nurl: a\ntries: 10", "app", "KeyError: 10"),
        ("kind: gone", "app.kind", "cannot be loaded"),
        ("kind: odd", "app.kind", "not a struct"),
        ("kind: twice", "app.kind", "has an option `kind`, which every check has"),
        ("kind: prob", "app.kind", "not an installed check"),
    ],
)
def test_what_only_the_plug_in_knows(check: str, path: str, said: str) -> None:
    ((_, where, message),) = faults_of(check)
    assert where == path
    assert said in message


class Timed(CheckConfig, frozen=True, kw_only=True):
    grace_s: Annotated[float, duration("1s", "1m"), Option("a key of every check")] = 3.0


def read_timed(written: bytes) -> Draft:
    faults: list[Fault] = []
    kind = plug_in("haagent.checks", Timed, may_be_alone=False)
    draft: Draft = kind.read(Place(read_document(written, "f", faults), path="app", line=1, faults=faults))
    draft.give(name="app")
    if faults:
        raise ConfigError("f", faults)
    return draft


def test_a_field_of_the_check_is_a_key_of_every_check() -> None:
    found = read_timed(b"kind: other\ngrace: 5s\ndelay: 2s").build()
    assert found == Timed(name="app", kind="other", options=Retry(Duration(2.0)), grace_s=5.0)
    assert read_timed(b"kind: other").build().grace_s == 3.0
    with pytest.raises(ConfigError) as caught:
        read_timed(b"kind: other\ngrace: 5\ngrase: 5s\ndelya: 2s")
    assert [(fault.path, fault.hint) for fault in caught.value.faults] == [
        ("app.grace", "it needs a unit: write `5ms` or `5s`"),
        ("app.grase", "did you mean `grace`?"),
        ("app.delya", "did you mean `delay`?"),
    ]


def test_a_method_of_an_instance_is_not_called() -> None:
    assert parse(with_check("kind: other\ndelay: 1s"), "").groups["web"].checks[0].kind == "other"


class Everything(Section, frozen=True):
    """Each way to declare an option."""

    colour: Annotated[str, of_text("a colour", lambda text: text.lower()), Option("how it looks")] = "red"
    mode: Literal["fast", "safe"] = "safe"
    retries: Annotated[int, whole(0, 9), Option("how often")] = 3
    at_most: Annotated[int, msgspec.Meta(le=5)] = 5
    wait_s: Annotated[float, duration("1s", "1m"), Option("how long")] = 2.0
    targets: Annotated[tuple[str, ...], list_of(NODE_ADDRESS, "a list of addresses"), Option("whom to ask")] = ()
    pauses: dict[str, Duration] = msgspec.field(default_factory=dict)
    keys: tuple[int, ...] = ()
    tls: Retry | None = None
    is_loud: bool = False


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Other, "Options", Everything)


@pytest.mark.usefixtures("everything")
class TestEveryWayToDeclareAnOption:
    def test_defaults(self) -> None:
        assert options_of("kind: other") == Everything()

    def test_what_is_written_arrives(self) -> None:
        written = "kind: other\ncolour: RED\nmode: fast\nretries: 0\nat_most: 4\nwait: 3s\ntargets: 10.0.0.1\n"
        written += "pauses: {a: 5s}\nkeys: [1, 1]\ntls: {delay: 5s}\nis_loud: yes"
        found = options_of(written)
        assert (found.colour, found.mode, found.retries, found.at_most, found.wait_s) == ("red", "fast", 0, 4, 3.0)
        assert (found.targets, found.pauses) == (("10.0.0.1",), {"a": 5.0})
        assert (found.keys, found.tls, found.is_loud) == ((1, 1), Retry(Duration(5)), True)

    def test_defaults_are_shown_as_they_would_be_written(self) -> None:
        shown = {row.key: row.default for row in rows(Everything)}
        assert (shown["wait"], shown["is_loud"], shown["keys"]) == ("`2s`", "`false`", "none")

    @pytest.mark.parametrize(
        ("written", "path", "said"),
        [
            ("mode: slow", "mode", "write one of: fast, safe"),
            ("retries: 10", "retries", "`10` is not a number from 0 to 9"),
            ("retries: 1s", "retries", "is not a number"),
            ("at_most: 6", "at_most", "expected `int` <= 5"),
            ("wait: 1ms", "wait", "write 1s to 1m"),
            ("wait_s: 1s", "wait_s", "did you mean `wait`?"),
            ("targets: [10.0.0.1, 10.0.0.1]", "targets[1]", "twice"),
            ("pauses: {a: 5}", "pauses", "it needs a unit: write `5ms` or `5s`"),
            ("targets: []", "targets", "the list is empty"),
            ("keys: [1, x]", "keys[1]", "expected `int`, got `str`"),
            ("tls: {delya: 5s}", "tls.delya", "did you mean `delay`?"),
            ("is_loud: 2", "is_loud", "write `true` or `false`"),
        ],
    )
    def test_faults(self, written: str, path: str, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(with_check(f"kind: other\n{written}"), "test.yaml")
        (fault,) = caught.value.faults
        assert fault.path == f"groups.web.checks.app.{path}"
        assert said in f"{fault.message}; {fault.hint}"


def test_every_check_has_the_keys_of_its_runner() -> None:
    written = "kind: probe\nurl: a\ninterval: 500ms\nfall: 5\nrequired: false"
    (check,) = parse(with_check(written), "").groups["web"].checks
    assert (check.interval_s, check.fall, check.required) == (0.5, 5, False)
    assert (check.timeout_s, check.jitter_s, check.rise, check.hold_s) == (1.0, 0.1, 2, 1.0)
    assert (check.weight, check.makes_unfit) == (None, False)


@pytest.mark.parametrize(("written", "makes_unfit"), [("", True), ("required: true", True), ("weight: 1000", False)])
def test_a_check_that_fails_makes_its_node_unfit_unless_it_says_otherwise(written: str, *, makes_unfit: bool) -> None:
    (check,) = parse(with_check(f"kind: probe\nurl: a\n{written}"), "").groups["web"].checks
    assert check.makes_unfit is makes_unfit


@pytest.mark.parametrize("weight", ["0", "1001", "-5", "2.5", "heavy"])
def test_a_weight_is_a_whole_number(weight: str) -> None:
    assert faults_of(f"kind: other\nweight: {weight}") == [
        (13, "app.weight", f"`{weight}` is not a number from 1 to 1000")
    ]


@pytest.mark.parametrize("required", ["true", "false"])
def test_a_check_has_a_weight_or_is_required(required: str) -> None:
    assert faults_of(f"kind: other\nrequired: {required}\nweight: 20") == [
        (14, "app.weight", "`required` is there too")
    ]


def test_a_backends_own_options_may_have_these_names() -> None:
    written = SMALL + "    backend: {kind: balance, weight: 20, required: true}\n"
    assert parse(written.encode(), "").groups["web"].backend.options == BalanceOptions(weight=20, required=True)


def test_faults_of_the_runners_keys_are_told_all_at_once() -> None:
    assert faults_of("kind: probe\nurl: a\ninterval: 1ms\nfall: 0\nrequired: perhaps\nrises: 2") == [
        (14, "app.interval", "1ms is too short"),
        (15, "app.fall", "`0` is not a number from 1 to 100"),
        (16, "app.required", "`perhaps` is neither true nor false"),
        (17, "app.rises", "unknown option"),
    ]


def test_a_check_that_watches_is_not_asked() -> None:
    assert faults_of("kind: other\nhold: 5s\nfall: 3\ninterval: 1s") == [
        (14, "app.fall", "a `other` check is not asked: it reports by itself"),
        (15, "app.interval", "a `other` check is not asked: it reports by itself"),
    ]


def test_a_check_that_neither_watches_nor_is_asked_cannot_be_used() -> None:
    assert faults_of("kind: idle") == [(12, "app.kind", "check `idle` has to have one of `probe` and `watch`")]
