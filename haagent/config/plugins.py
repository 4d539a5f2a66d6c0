"""Plug-ins as the configuration sees them: a kind, a class found by entry point, and its `Options`.

Ours come through the same door as anyone's. A class says what it can be configured with by `Options`, a frozen
`msgspec.Struct`; every field is one key. Optionally it has a class method `check(options, group) -> list[str]`, for
what the types cannot say. Nothing is imported until a file that names the plug-in is validated.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from haagent.config.document import Mapping, Scalar, plain
from haagent.config.durations import Duration, NotADuration, parse_duration
from haagent.config.faults import quoted, suggestion
from haagent.config.model import GroupConfig
from haagent.config.section import Place

BACKENDS = "haagent.backends"
CHECKS = "haagent.checks"
WORDS = {BACKENDS: "backend", CHECKS: "check"}


class _Unusable(Exception):
    """The kind is unknown, or its plug-in cannot be used. Says what to do."""


class PlugIn(msgspec.Struct, frozen=True):
    """One use of a plug-in in the file: where, and what was read."""

    place: Place
    kind: str
    options: dict[str, Any]
    found: type | None = None  # the class; None when it cannot be used, which has been reported
    typed: msgspec.Struct | None = None


@functools.cache  # reading the metadata takes milliseconds, and every group may ask; failures are not remembered
def _find(door: str, kind: str) -> type:
    from haagent import plugins  # finding entry points is slow, and only needed where a file is validated

    word = WORDS[door]
    try:
        found = plugins.load(door, kind)
    except plugins.UnknownKind as error:
        hint = suggestion(kind, error.installed) if error.installed else "install haagent again: it has none at all"
        raise _Unusable(f"{quoted(kind)} is not an installed {word}", hint) from error
    except Exception as error:  # a stranger's module may fail in any way, and must not take the agent along
        cause = f"{type(error).__name__}: {error}"
        raise _Unusable(f"{word} {quoted(kind)} cannot be loaded: {cause}", "install what it needs") from error
    if not isinstance(found.Options, type) or not issubclass(found.Options, msgspec.Struct):
        hint = "install a release of it that is for this haagent"
        raise _Unusable(f"the `Options` of {word} {quoted(kind)} are not a struct", hint)
    return found


def typed_options(found: Any, options: dict[str, Any]) -> Any:
    """The plug-in's own struct, for its constructor. Raises `msgspec.ValidationError`; not for checked options."""
    return msgspec.convert(options, found.Options, dec_hook=_convert)


def _convert(wanted: type, value: Any) -> Any:
    if wanted is not Duration:
        raise NotImplementedError(f"an option cannot be a {wanted}")
    if not isinstance(value, str):
        raise NotADuration(f"it needs a unit: write `{value}ms` or `{value}s`")
    return parse_duration(value)


def read_plug_in(place: Place, door: str) -> PlugIn:
    """Of a place that names a kind. Reports all faults of its options, not only the first."""
    if isinstance(place.node, Mapping):
        at_kind = place.below("kind")
        written = {key: below for key, below in place.entries() if key != "kind"}
    else:
        at_kind, written = place, {}
    kind = at_kind.node.text if at_kind and isinstance(at_kind.node, Scalar) else ""
    options = {key: plain(below.node) for key, below in written.items()}
    read = PlugIn(place, kind, options)
    try:
        found = _find(door, kind)
    except _Unusable as error:
        (at_kind or place).refuse(*error.args)
        return read
    typed = _check_options(place, written, found)
    return msgspec.structs.replace(read, found=found, typed=typed)


def _check_options(place: Place, written: dict[str, Place], found: Any) -> msgspec.Struct | None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(found.Options)}
    fine = True
    for key, below in written.items():
        if key not in fields:
            below.refuse("unknown option", suggestion(key, fields))
            fine = False
        elif not _is_valid(below, fields[key].type):
            fine = False
    for name, field in fields.items():
        if field.required and name not in written:
            place.refuse_key(name, "missing", f"write `{name}: ...`")
            fine = False
    if not fine:
        return None
    try:
        options = {key: plain(below.node) for key, below in written.items()}
        typed: msgspec.Struct = typed_options(found, options)
    except msgspec.ValidationError as error:  # of the struct's own __post_init__: each field is valid by itself
        place.refuse(str(error))
        return None
    return typed


def _is_valid(place: Place, wanted: Any) -> bool:
    try:
        msgspec.convert(plain(place.node), wanted, dec_hook=_convert)
    except (msgspec.ValidationError, NotADuration) as error:
        message, _, where = str(error).partition(" - at `$")
        _deepest(place, where.rstrip("`")).refuse(message[:1].lower() + message[1:])
        return False
    return True


def _deepest(place: Place, where: str) -> Place:
    """msgspec says `.retries[2].delay`, or `[...]` for a value of a mapping: follow it as far as it goes."""
    for part in where.replace("]", "").replace("[", ".").split("."):
        by_index = {str(index): element for index, element in enumerate(place.elements())}
        place = by_index.get(part) or place.below(part) or place
    return place


def find_plug_in_contradictions(used: PlugIn, group: GroupConfig) -> None:
    """Ask the plug-in's own `check`, if it offers one as a class method. (An instance's method is not for us.)"""
    if used.found is None or used.typed is None:
        return
    if not isinstance(inspect.getattr_static(used.found, "check", None), classmethod):
        return
    check: Callable[[Any, GroupConfig], list[str]] = used.found.check  # type: ignore[attr-defined]
    try:
        sentences = list(check(used.typed, group))
    except Exception as error:  # a stranger's code, as in `plug_in`
        sentences = [
            f"{used.kind} could not check its options ({type(error).__name__}: {error}); report this to its author"
        ]
    for sentence in sentences:
        used.place.refuse(str(sentence))
