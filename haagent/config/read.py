"""From the file to a `Config`, or to all of its faults.

Four passes, each on what the one before could read: the text becomes a tree with lines (document.py), the tree becomes
declared values (section.py, options.py), the values must not contradict each other (contradictions.py), and the
plug-ins judge their own options (plugins.py). Only a file without any fault becomes a `Config`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os.path
from typing import Any

import msgspec

from haagent.config.contradictions import (
    FEW,
    WITNESS_KINDS,
    alone_after_s,
    find_contradictions,
    interval_s,
    lease_s,
    node_addresses,
)
from haagent.config.coordination import etcd_config
from haagent.config.document import Mapping, plain, read_document, read_file
from haagent.config.faults import ConfigError, Fault
from haagent.config.model import (
    CheckConfig,
    Config,
    FencingConfig,
    GroupConfig,
    GuardsConfig,
    HeartbeatConfig,
    HooksConfig,
    NodeConfig,
    PluginConfig,
    WitnessConfig,
)
from haagent.config.options import DEFAULT_KEY_FILE, DEFAULT_MULTICAST, FILE
from haagent.config.plugins import BACKENDS, CHECKS, PlugIn, find_plug_in_contradictions, read_plug_in
from haagent.config.section import Place, Section
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
    top: Section = FILE.read(root)
    find_contradictions(top)
    plug_ins = {name: _group_plug_ins(group) for name, group in top.sections("groups").items()}
    me = ""
    if is_member or node is not None:
        found = _find_me(top, node)
        if isinstance(found, Fault):
            faults.append(found)
        else:
            me = found
    if faults:
        raise ConfigError(path, faults)
    config = _config(top, plug_ins, me=me, path=os.path.abspath(path), digest=digest(document))
    for name, used in plug_ins.items():
        for each in used.values():
            find_plug_in_contradictions(each, config.groups[name])
    if faults:
        raise ConfigError(path, faults)
    return config


def digest(document: Mapping) -> str:
    """Of the content as written, without comments and order of keys: equal on all nodes, whatever their release."""
    encoded = msgspec.json.encode(plain(document), order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:16]


def _find_me(top: Section, node: str | None) -> str | Fault:
    nodes = top.sections("nodes")
    if not nodes:
        return ""  # reported already
    addresses = {name: [text for text, _ in node_addresses(each)] for name, each in nodes.items()}
    place = top.place.below("nodes")
    return find_me(addresses, node=node, line=place.line if place else 0)


def _group_plug_ins(group: Section) -> dict[str, PlugIn]:
    """By name of the check; the backend's is the empty one, which no check can have."""
    used = {}
    backend = group.get("backend")
    if isinstance(backend, Place):
        used[""] = read_plug_in(backend, BACKENDS)
    for name, place in (group.get("checks") or {}).items():
        used[name] = read_plug_in(place, CHECKS)
    return used


def _config(top: Section, plug_ins: dict[str, dict[str, PlugIn]], *, me: str, path: str, digest: str) -> Config:
    heartbeat = _heartbeat(top, top.get("heartbeat"))
    nodes = {name: _node(name, node) for name, node in top.sections("nodes").items()}
    coordination = etcd_config(top, heartbeat.lease_s)
    is_safe_to_cut = len(nodes) >= FEW or coordination is not None
    return Config(
        cluster=top.get("cluster"),
        me=me,
        nodes=nodes,
        key_files=() if heartbeat.insecure else top.values("key_file") or (DEFAULT_KEY_FILE,),
        heartbeat=heartbeat,
        on_partition=top.get("on_partition") or ("consistent" if is_safe_to_cut else "available"),
        alone_after_s=alone_after_s(top, heartbeat.lease_s),
        failure_expiry_s=top.get("failure_expiry"),
        groups={name: _group(name, group, plug_ins[name], heartbeat) for name, group in top.sections("groups").items()},
        path=path,
        digest=digest,
        guards=_guards(top.get("guards"), lease=heartbeat.lease_s),
        gate=top.get("gate"),
        realtime=top.get("process").get("realtime"),
        coordination=coordination,
    )


def _heartbeat(top: Section, section: Section) -> HeartbeatConfig:
    is_multicast = section.get("transport") == "multicast"
    return HeartbeatConfig(
        transport=section.get("transport"),
        group=(section.get("group") or DEFAULT_MULTICAST) if is_multicast else "",
        port=section.get("port"),
        interfaces=section.values("interfaces"),
        interval_s=interval_s(section) or 0.0,
        lease_s=lease_s(top, section) or 0.0,
        insecure=section.get("insecure"),
    )


def _node(name: str, section: Section) -> NodeConfig:
    addresses = tuple(str(ipaddress.ip_address(text)) for text, _ in node_addresses(section))
    fencing = section.get("fencing")
    return NodeConfig(
        name,
        addresses,
        witness=section.get("witness"),
        fencing=_fencing(fencing) if isinstance(fencing, Section) else None,
    )


def _fencing(section: Section) -> FencingConfig:
    return FencingConfig(
        agent=section.get("agent"),
        options=section.get("options") or (),
        options_file=section.get("options_file") or "",
        action=section.get("action"),
        timeout_s=section.get("timeout"),
    )


def _guards(section: Section, *, lease: float) -> GuardsConfig:
    witness = section.get("witness")
    kind = next((kind for kind in WITNESS_KINDS if witness.get(kind)), "")
    timeout_s = witness.get("timeout") or lease / 2
    return GuardsConfig(
        arp=section.get("arp"),
        gateway=section.get("gateway"),
        witness=WitnessConfig(kind, witness.get(kind), timeout_s) if kind else None,
    )


def _group(name: str, section: Section, plug_ins: dict[str, PlugIn], heartbeat: HeartbeatConfig) -> GroupConfig:
    failback: Any = section.get("failback")
    backend = plug_ins[""]
    return GroupConfig(
        name=name,
        addresses=section.values("addresses"),
        interface=section.get("interface") or heartbeat.interfaces[0],
        backend=PluginConfig(backend.kind, backend.options),
        prefer=section.values("prefer"),
        failback_after_s=failback.get("after") if isinstance(failback, Section) else None,
        checks=tuple(CheckConfig(check, used.kind, used.options) for check, used in plug_ins.items() if check),
        hooks=_hooks(section.get("hooks")),
    )


def _hooks(section: Section) -> HooksConfig:
    return HooksConfig(
        taken=section.get("taken") or "",
        released=section.get("released") or "",
        failed=section.get("failed") or "",
        timeout_s=section.get("timeout"),
    )
