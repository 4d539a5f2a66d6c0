"""The one configuration file of a lab's cluster, the same for all nodes, and its key.

What the lab does not need to say is left out, so that a lab runs with the defaults a user gets.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
import yaml

from haagent.lab.errors import LabError
from haagent.lab.plan import Plan

Tree = dict[str, Any]


class Wishes(msgspec.Struct, frozen=True):
    """What a user may choose about the cluster in a lab. Empty: the agent's own default."""

    interval: str = "100ms"
    lease: str = ""
    on_partition: str = ""
    transport: str = "multicast"
    sessions: bool = False  # sessions, and a balancer that may ask how each node is
    extra: str = ""  # path of a YAML file laid over the generated configuration


def write(directory: Path, plan: Plan, wishes: Wishes) -> Path:
    """Returns the file's path; the key lies beside it."""
    key_file = directory / "cluster.key"
    _write_secret(key_file, base64.b64encode(secrets.token_bytes(32)).decode())
    tree = _tree(plan, wishes, key_file)
    if wishes.sessions:
        tree |= _with_sessions(directory)
    if wishes.extra:
        tree = _laid_over(tree, _read(Path(wishes.extra)))
    path = directory / "haagent.yaml"
    path.write_text("# written by `haagent lab up`\n" + yaml.safe_dump(tree, sort_keys=False))
    return path


def _tree(plan: Plan, wishes: Wishes, key_file: Path) -> Tree:
    heartbeat: Tree = {"transport": wishes.transport}
    heartbeat |= {"interfaces": list(plan.links), "interval": wishes.interval}
    if wishes.lease:
        heartbeat["lease"] = wishes.lease
    tree: Tree = {"cluster": "lab", "key_file": str(key_file), "nodes": _nodes(plan), "heartbeat": heartbeat}
    if wishes.on_partition:
        tree["on_partition"] = wishes.on_partition
    tree["groups"] = {
        "web": {
            "addresses": [f"{vip}/{64 if ':' in vip else 24}" for vip in plan.vips],
            "interface": "eth0",
            "backend": "arp",
            "prefer": [node.name for node in plan.nodes if not node.witness],
            "failback": "manual",
            "checks": {"nic": {"kind": "link", "interface": "eth0"}},
        }
    }
    return tree


def _with_sessions(directory: Path) -> Tree:
    token_file = directory / "http.token"
    _write_secret(token_file, secrets.token_urlsafe())
    http = {"listen": "0.0.0.0:7266", "token_file": str(token_file), "agent_check": "0.0.0.0:7267"}
    return {"sessions": {}, "http": http}


def _write_secret(path: Path, secret: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")


def _nodes(plan: Plan) -> Tree:
    nodes: Tree = {}
    for node in plan.nodes:
        addresses = [port.ipv4.partition("/")[0] for port in node.ports]
        nodes[node.name] = {"address": addresses[0]} if len(addresses) == 1 else {"addresses": addresses}
        if node.witness:
            nodes[node.name]["witness"] = True
    return nodes


def _read(path: Path) -> Tree:
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}; --config wants a file to lay over the lab's own") from None
    except yaml.YAMLError as error:
        raise LabError(f"{path} is not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise LabError(f"{path} must be a mapping such as `groups: {{...}}`")
    return tree


def _laid_over(below: Tree, above: Tree) -> Tree:
    """Mappings are merged key by key, anything else replaces; null removes the key."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _laid_over(merged[key], value)
        else:
            merged[key] = value
    return merged
