"""The first configuration of a cluster: what `haagent init` writes.

The text is validated by the same code as any other file before it is written, so what `init` writes can be run. An
existing configuration is replaced only when that was asked for; an existing key never, because the other nodes have it.
"""

from __future__ import annotations

import ipaddress
import os.path
from collections.abc import Iterable

import msgspec

from haagent.config.contradictions import FEW, USUAL_LEASE
from haagent.config.durations import format_duration, parse_duration
from haagent.config.faults import ConfigError, quoted
from haagent.config.files import write_whole
from haagent.config.keys import load_keys, write_key
from haagent.config.model import Config, HeartbeatConfig, NodeConfig
from haagent.config.read import parse
from haagent.config.schema import keys_of

CONFIG_MODE = 0o644
USUAL_INTERFACE = "eth0"
DEFAULT_KEY_FILE = keys_of(Config)["key_file"].shown
WITNESS = keys_of(NodeConfig)["witness"].option.meaning
FOUND = "  # this host's address is on it; the other nodes must have the same name"
GUESSED = "  # a guess: this host has none of the addresses above; see `ip link`"
BY_MAJORITY = "on_partition: consistent  # only a majority may hold, so two nodes never hold at once"
BY_TWO = """\
# With `available`, both nodes may hold when the network between them fails. To rule that out, add a third
# node (one with `witness: true` is enough) and write `consistent`.
on_partition: available"""
TEXT = """\
# The configuration of a haagent cluster, the same on every node. `haagent check-config --options` lists all options.
# After a change, run `haagent check-config`, copy this file to every node, and run `haagent reload` on each.

cluster: {cluster}
key_file: {key_file}  # keep it secret; every node has the same key

nodes:  # a host finds itself here by its name or address, or by `haagent run --node NAME`
{nodes}

heartbeat:
  transport: {transport}  # multicast, unicast or both; clouds carry no multicast{multicast}
  port: {port}  # UDP; firewalls between the nodes must let it pass
  interfaces: [{interface}]{how}
  interval: {interval}
  lease: {lease}  # when a host is lost, another takes over after this time; at least 2.5 x interval

{on_partition}

groups:
  {group}:
    addresses: [{vips}]  # they move together
    interface: {interface}
    backend: arp
    prefer: [{holders}]  # the first that can takes them
    failback: manual  # or {{after: 30s}}: they move back to the first of `prefer` by themselves
    checks:
      link: {{kind: link, interface: {interface}}}  # a node whose link is down lets go
    # hooks:  # programs to run after a move
    #   taken: /etc/haagent/hooks/taken
    #   released: /etc/haagent/hooks/released
"""


class StarterError(Exception):
    """What was asked for cannot be written; says what to do."""


class Starter(msgspec.Struct, frozen=True):
    """What the operator said on the command line."""

    nodes: dict[str, str]  # name to address
    vips: tuple[str, ...]
    witnesses: tuple[str, ...] = ()
    interface: str = ""  # empty: found out
    cluster: str = "cluster"
    group: str = "service"
    transport: str = "multicast"
    key_file: str = DEFAULT_KEY_FILE


def parse_nodes(text: str) -> dict[str, str]:
    """`A=10.20.1.10,B=10.20.1.11`."""
    nodes: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, address = part.partition("=")
        if not (name and equals and address):
            raise StarterError(f"{quoted(part)} is not NAME=ADDRESS; write --nodes A=10.20.1.10,B=10.20.1.11")
        if name in nodes:
            raise StarterError(f"node {name} is named twice; give each node its own name")
        nodes[name] = address
    if not nodes:
        raise StarterError("no node is named; write --nodes A=10.20.1.10,B=10.20.1.11")
    return nodes


def starter_text(wanted: Starter) -> str:
    """A commented configuration that passes its own validation. Raises `StarterError`."""
    unknown = [name for name in wanted.witnesses if name not in wanted.nodes]
    if unknown:
        raise StarterError(f"witness {unknown[0]} is not among the nodes; add {unknown[0]}=ADDRESS to --nodes")
    if not wanted.vips:
        raise StarterError("no address to fail over is named; write --vip 10.20.1.100/24")
    text = _filled_in(wanted)
    try:
        parse(text.encode(), "")
    except ConfigError as error:
        # Lines of a file that does not exist would help nobody.
        faults = (msgspec.structs.replace(fault, line=0).text("").removeprefix(": ") for fault in error.faults)
        raise StarterError("\n".join(faults)) from error
    return text


def write_starter(wanted: Starter, path: str, *, replace: bool = False) -> tuple[str, ...]:
    """Writes the configuration, and the key if there is none. Returns the files that were written."""
    text = starter_text(wanted)
    if os.path.lexists(path) and not replace:
        raise StarterError(f"{path} exists; look at it, and use --force to replace it")
    written = []
    try:
        # The key first: without it the configuration would be of no use, and with it init can be repeated.
        if os.path.lexists(wanted.key_file):
            load_keys([wanted.key_file])
        else:
            write_key(wanted.key_file)
            written.append(wanted.key_file)
        write_whole(path, text, mode=CONFIG_MODE, replace=replace)
    except FileExistsError as error:
        raise StarterError(f"{path} exists; look at it, and use --force to replace it") from error
    except OSError as error:
        raise StarterError(f"{path} cannot be written: {error.strerror}; choose another place, or be root") from error
    return (*written, path)


def interface_of(addresses: Iterable[str]) -> str:
    """The interface of this host that has one of the addresses; empty when none has."""
    from pyroute2 import IPRoute, NetlinkError  # slow to import, and only `init` asks

    try:
        wanted = {ipaddress.ip_address(text) for text in addresses}
        with IPRoute() as kernel:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in kernel.get_links()}
            for each in kernel.get_addr():
                local = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
                if local and ipaddress.ip_address(local) in wanted:
                    return str(names[each["index"]])
    except ValueError:
        return ""  # the text will be refused for it
    except (OSError, NetlinkError):
        return ""  # a container that forbids netlink: the usual name, and the comment says that it is a guess
    return ""


def _filled_in(wanted: Starter) -> str:
    found = wanted.interface or interface_of(wanted.nodes.values())
    usual = {name: key.shown for name, key in keys_of(HeartbeatConfig).items()}
    nodes = [
        f"  {yaml_text(name)}: {{address: {yaml_text(address)}, witness: true}}  # {WITNESS}"
        if name in wanted.witnesses
        else f"  {yaml_text(name)}: {{address: {yaml_text(address)}}}"
        for name, address in wanted.nodes.items()
    ]
    is_v6 = all(":" in address for address in wanted.nodes.values())
    group = f"\n  group: {yaml_text('ff15::7265' if is_v6 else usual['group'])}"
    return TEXT.format(
        cluster=yaml_text(wanted.cluster),
        key_file=yaml_text(wanted.key_file),
        nodes="\n".join(nodes),
        transport=yaml_text(wanted.transport),
        multicast="" if wanted.transport == "unicast" else group,
        port=usual["port"],
        interface=yaml_text(found or USUAL_INTERFACE),
        how="" if wanted.interface else FOUND if found else GUESSED,
        interval=usual["interval"],
        lease=format_duration(USUAL_LEASE * parse_duration(usual["interval"])),
        on_partition=BY_MAJORITY if len(wanted.nodes) >= FEW else BY_TWO,
        group=yaml_text(wanted.group),
        vips=", ".join(map(yaml_text, wanted.vips)),
        holders=", ".join(yaml_text(name) for name in wanted.nodes if name not in wanted.witnesses),
    )


def yaml_text(text: str) -> str:
    """As a scalar of a flow mapping: in quotes where YAML might read something else."""
    is_plain = text.replace(".", "").replace("-", "").replace("_", "").replace("/", "").isalnum()
    is_word = text.lower() not in {"true", "false", "yes", "no", "on", "off", "null"}
    if is_plain and is_word and text.isascii() and (text[0].isalnum() or text[0] == "/"):
        return text
    return msgspec.json.encode(text).decode()  # a JSON string is a YAML string
