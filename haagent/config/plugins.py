"""Plug-ins as the configuration sees them: a kind, a class found by entry point, and its `Options`.

Ours come through the same door as anyone's. A class says what it can be configured with by `Options`, a section as any
other (schema.py). Optionally it has a class method `check(options, group) -> list[str]`, for what no single option can
be blamed for. Nothing is imported until a file that names the plug-in is validated.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any

import msgspec

from haagent.config.document import Mapping, Scalar
from haagent.config.faults import quoted, suggestion
from haagent.config.kinds import PLUG_IN, Kind, Wrong, duration, whole
from haagent.config.place import Place
from haagent.config.schema import Draft, Given, Option, Section, keys_of, read_key, read_section

BACKENDS = "haagent.backends"
CHECKS = "haagent.checks"
DOORS = {BACKENDS: "backend", CHECKS: "check"}
ASKED = ("interval", "timeout", "jitter", "fall", "rise")  # keys that mean nothing to a check that watches


class PluginConfig(Section, frozen=True):
    """What stands beside `kind` and is no field here belongs to the plug-in: `options` is one of its `Options`."""

    kind: Annotated[str, PLUG_IN, Option("which plug-in; the keys beside it are its own options", example="arp")]
    options: Annotated[Any, Given]


class CheckConfig(PluginConfig, frozen=True, kw_only=True):
    """A field added here is a key of every check."""

    name: Annotated[str, Given]
    kind: Annotated[str, PLUG_IN, Option("which plug-in; the keys beside it are its own options", example="link")]
    required: Annotated[bool, Option("`false`: its failure is shown and reported, and nothing moves for it")] = True
    weight: Annotated[
        int | None,
        whole(1, 1000),
        Option("instead of `required`: while it fails, nodes where failing checks weigh less come first"),
    ] = None
    interval_s: Annotated[float, duration("50ms", "1h"), Option("how often it is asked")] = 1.0
    timeout_s: Annotated[float, duration("10ms", "10m"), Option("how long to wait; no answer in time is a bad one")] = (
        1.0
    )
    jitter_s: Annotated[float, duration("0s", "10m"), Option("at most so much random delay before it is asked")] = 0.1
    fall: Annotated[
        int, whole(1, 100), Option("bad answers in a row until it has failed; one is enough if it is the very first")
    ] = 3
    rise: Annotated[int, whole(1, 100), Option("good answers in a row until it passes again")] = 2
    hold_s: Annotated[
        float,
        duration("0s", "1h"),
        Option("how long it must be good to pass again; twice as long each time it fails within a minute, up to 1m"),
    ] = 1.0

    @property
    def makes_unfit(self) -> bool:
        """A node where it fails must not hold the group."""
        return self.required and self.weight is None


@functools.cache  # reading the metadata takes milliseconds, and every group may ask; failures are not remembered
def _find(door: str, kind: str, struct: type[PluginConfig]) -> type:
    """Raises `Wrong` when the kind is unknown, or its plug-in cannot be used."""
    from haagent.plugins import finding  # finding entry points is slow, and only needed where a file is validated

    word = DOORS[door]
    try:
        found = finding.load(door, kind)
        declared = keys_of(found.Options) if issubclass(found.Options, msgspec.Struct) else None
    except finding.UnknownKind as error:
        hint = suggestion(kind, error.installed) if error.installed else "install haagent again: it has none at all"
        raise Wrong(f"{quoted(kind)} is not an installed {word}", hint) from error
    except (Exception, SystemExit) as error:  # a stranger's module may fail in any way, and must not take us along
        cause = f"{type(error).__name__}: {error}"
        raise Wrong(f"{word} {quoted(kind)} cannot be loaded: {cause}", "install what it needs") from error
    hint = "install a release of it that is for this haagent"
    if declared is None:
        raise Wrong(f"the `Options` of {word} {quoted(kind)} are not a struct", hint)
    if both := declared.keys() & keys_of(struct).keys():
        raise Wrong(f"{word} {quoted(kind)} has an option `{min(both)}`, which every {word} has", hint)
    return found


class PlugInDraft(Draft):
    """One use of a plug-in in the file."""

    plugin: Any = None  # the class; None when it cannot be used, which has been reported
    options: Any = None  # one of its `Options`; None when they were refused


def plug_in(door: str, struct: type[PluginConfig], *, may_be_alone: bool) -> Kind:
    """`may_be_alone`: the kind by itself is enough, without a mapping around it."""

    def read(place: Place) -> PlugInDraft | None:
        is_mapping = isinstance(place.node, Mapping)
        if not is_mapping and not may_be_alone:
            hint = f"{{kind: {quoted(place.node.text)[1:-1]}}}" if isinstance(place.node, Scalar) else "{kind: link}"
            place.refuse(f"{place.shape()}, but a {DOORS[door]} is a mapping", f"write `{hint}`")
            return None
        at_kind = place.below("kind") if is_mapping else place
        if at_kind is None:
            place.refuse_key("kind", "missing", "write `kind: NAME` of the plug-in")
            return None
        kind = PLUG_IN.read(at_kind)
        if kind is None:
            return None
        own = keys_of(struct)
        values = {name: read_key(place, key) for name, key in own.items() if name != "kind"}
        draft = PlugInDraft(place, struct, {"kind": kind} | values)
        try:
            draft.plugin = _find(door, kind, struct)
        except Wrong as wrong:
            at_kind.refuse(*wrong.args)
        else:
            draft.options = _options(place if is_mapping else place.emptied(), draft.plugin.Options, own)
            draft.give(options=draft.options)
            if door == CHECKS:
                _asked_or_watching(draft)
        if door == CHECKS and draft.written("required") and draft.written("weight"):
            draft.refuse("weight", "`required` is there too", "remove one of them: a weight makes no node unfit")
        return draft

    return Kind("the name of a plug-in, or `{kind: NAME, ...}` with its options", read, struct=struct)


def _options(place: Place, struct: type[msgspec.Struct], own: dict[str, Any]) -> Any:
    before = len(place.faults)
    draft = read_section(place, struct, word="option", beside=own)
    if len(place.faults) > before:
        return None
    try:
        return draft.build()
    except (Exception, SystemExit) as error:  # of the struct's own __post_init__: each option is valid by itself
        place.refuse(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        return None


def _asked_or_watching(check: PlugInDraft) -> None:
    kind = check.get("kind")
    is_asked, is_watching = (callable(getattr(check.plugin, verb, None)) for verb in ("probe", "watch"))
    if is_asked is is_watching:
        check.refuse("kind", f"check `{kind}` has to have one of `probe` and `watch`", "install another release of it")
    for key in ASKED if is_watching else ():
        if check.written(key):
            check.refuse(key, f"a `{kind}` check is not asked: it reports by itself", "remove it")
