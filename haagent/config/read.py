"""From the file to a `Config`, or to all of its faults.

Four passes, each on what the one before could read: the text becomes a tree with lines (document.py), the tree becomes
declared values (schema.py, model.py), the values must not contradict each other (contradictions.py), and the plug-ins
judge their own options. Only a file without any fault becomes a `Config`.
"""

from __future__ import annotations

import hashlib
import inspect
import os.path
from collections.abc import Callable
from typing import Any

import msgspec

from haagent.config.contradictions import fill_in, find_contradictions
from haagent.config.document import Mapping, plain, read_document, read_file
from haagent.config.faults import ConfigError, Fault
from haagent.config.kinds import Wrong
from haagent.config.model import Config, GroupConfig
from haagent.config.outline import outline_of
from haagent.config.place import Place
from haagent.config.plugins import PlugInDraft
from haagent.config.schema import Draft, read_section
from haagent.config.whoami import find_me


def load(path: str, *, node: str | None = None) -> Config:
    """For a host that is one of the nodes. Raises `ConfigError` with all faults."""
    return parse(read_file(path), path, node=node, is_member=True)


def check(path: str) -> Config:
    """For any host: the same validation, and `me` stays empty."""
    return parse(read_file(path), path)


def parse(data: bytes, path: str, *, node: str | None = None, is_member: bool = False) -> Config:
    faults: list[Fault] = []
    document = read_document(data, path, faults)
    root = Place(document, path="", line=1, faults=faults)
    top = read_section(root, Config)
    fill_in(top)
    find_contradictions(top)
    me = _find_me(top, node) if is_member or node is not None else ""
    if faults:
        raise ConfigError(path, faults)
    top.give(me=me, path=os.path.abspath(path), digest=digest(document), outline=outline_of(plain(document)))
    config: Config = top.build()
    for name, group in top.sections("groups").items():
        for used in (group.get("backend"), *group.sections("checks").values()):
            if isinstance(used, PlugInDraft):
                _ask_the_plug_in(used, config.groups[name])
    if faults:
        raise ConfigError(path, faults)
    return config


def digest(document: Mapping) -> str:
    """Of the content as written, without comments and order of keys: equal on all nodes, whatever their release."""
    encoded = msgspec.json.encode(plain(document), order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:16]


def _find_me(top: Draft, node: str | None) -> str:
    nodes = top.sections("nodes")
    if not nodes:
        return ""  # reported already
    addresses = {name: each.values("addresses") for name, each in nodes.items()}
    try:
        return find_me(addresses, node=node)
    except Wrong as wrong:
        top.refuse("nodes", *wrong.args)
        return ""


def _ask_the_plug_in(used: PlugInDraft, group: GroupConfig) -> None:
    """Its own `check`, if it offers one as a class method. (An instance's method is not for us.)"""
    if used.options is None or not isinstance(inspect.getattr_static(used.plugin, "check", None), classmethod):
        return
    check: Callable[[Any, GroupConfig], list[str]] = used.plugin.check
    try:
        sentences = list(check(used.options, group))
    except (Exception, SystemExit) as error:  # a stranger's code
        sentences = [
            f"{used.get('kind')} could not check its options ({type(error).__name__}: {error});"
            " report this to its author"
        ]
    for sentence in sentences:
        used.place.refuse(str(sentence))
