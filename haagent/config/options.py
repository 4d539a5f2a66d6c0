"""Every key of the configuration file, declared once. Validation and the documentation's table both read this."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from haagent.config.coordination import COORDINATION, USUAL_LEASE_S
from haagent.config.document import Mapping, Scalar
from haagent.config.durations import format_duration
from haagent.config.faults import quoted
from haagent.config.kinds import (
    AGENT,
    FLAG,
    GATEWAY,
    GROUP_ADDRESS,
    HOST_AND_PORT,
    HOST_URL,
    MULTICAST,
    NAME,
    NETWORK,
    NODE_ADDRESS,
    PATH,
    PORT,
    choice,
    duration,
    list_of,
    read_named,
    section,
    sections,
    texts,
)
from haagent.config.section import Kind, Option, Place
from haagent.core.limits import MAX_GROUPS, MAX_NODES

MAX_CHECKS = 32  # of one group: each is a task of its own
DEFAULT_KEY_FILE = "/etc/haagent/cluster.key"
DEFAULT_MULTICAST = "239.192.72.65"  # organisation-local scope (RFC 2365): "H", "A"
LATER = ("http", "sessions", "units")


def _plug_in(place: Place) -> Any:
    """The place itself, once it is certain that it names a kind. Its other keys are the plug-in's business."""
    if isinstance(place.node, Mapping):
        kind = place.below("kind")
        if kind is None:
            place.refuse_key("kind", "missing", "write `kind: NAME` of the plug-in")
            return None
    else:
        kind = place
    scalar = kind.scalar("the name of a plug-in")
    return None if scalar is None or NAME.read(kind) is None else place


def _failback(place: Place) -> Any:
    """The section of `{after: 30s}`, or None for `manual`."""
    if isinstance(place.node, Mapping):
        return FAILBACK_AFTER.read(place)
    if not isinstance(place.node, Scalar) or place.node.text != "manual":
        place.refuse(f"{place.shape()}, but it is `manual` or a time", "write `manual` or `{after: 30s}`")
    return None


def _checks(place: Place) -> Any:
    if isinstance(place.node, Mapping) and not place.node.entries:
        return {}
    return read_named(place, "check", most=MAX_CHECKS, read=_plug_in_mapping)


def _plug_in_mapping(place: Place) -> Any:
    if isinstance(place.node, Mapping):
        return _plug_in(place)
    hint = f"{{kind: {quoted(place.node.text)[1:-1]}}}" if isinstance(place.node, Scalar) else "{kind: link}"
    place.refuse(f"{place.shape()}, but a check is a mapping", f"write `{hint}`")
    return None


PLUG_IN = Kind("the name of a plug-in, or `{kind: NAME, ...}` with its options", _plug_in)
CHECKS = Kind("a mapping from check names to `{kind: NAME, ...}`", _checks)
FAILBACK = Kind("`manual` or `{after: 30s}`", _failback)
FAILBACK_AFTER = section(
    Option("after", duration(least="0s", most="24h"), "how long it must have been fit", required=True, example="30s")
)

FENCING = (
    Option(
        "agent",
        AGENT,
        "a fence agent: a program with the interface of `fence_*`",
        required=True,
        example="fence_ipmilan",
    ),
    Option(
        "options",
        texts("agent options"),
        "what the agent is told, on its standard input",
        otherwise="none",
        example="{ip: 10.9.0.1, username: admin}",
    ),
    Option(
        "options_file",
        PATH,
        "more options, a line `name=value` each, in a file guarded like the key: for passwords",
        otherwise="none",
    ),
    Option("action", choice("off", "reboot"), "what is done to the node", default="off"),
    Option("timeout", duration(least="1s", most="10m"), "an agent that runs longer is killed", default="30s"),
)

NODE = (
    Option(
        "address",
        NODE_ADDRESS,
        "the node's own address on the link; needed for `unicast`",
        otherwise="none",
        example="10.20.1.10",
    ),
    Option(
        "addresses",
        list_of(NODE_ADDRESS, "a list of IP addresses"),
        "instead of `address`: one for each link, in the order of `heartbeat.interfaces`",
        otherwise="none",
        example="[10.20.1.10, 10.30.1.10]",
    ),
    Option("witness", FLAG, "votes, and never holds anything", default="false"),
    Option(
        "fencing",
        section(*FENCING, may_lack=True),
        "how to make sure that this node is down before another takes what it held",
        otherwise="none",
    ),
)

HEARTBEAT = (
    Option("transport", choice("multicast", "unicast"), "how heartbeats travel", default="multicast"),
    Option("group", MULTICAST, "multicast group, IPv4 or IPv6", otherwise=f"`{DEFAULT_MULTICAST}`"),
    Option("port", PORT, "UDP port of the heartbeats", default="7265"),
    Option(
        "interfaces",
        list_of(NETWORK, "a list of network interfaces"),
        "the links: heartbeats use all of them at once. Needed for `multicast`",
        otherwise="any, by routing (`unicast`)",
        example="[eth0]",
    ),
    Option("interval", duration(least="5ms", most="60s"), "time between two heartbeats", default="100ms"),
    Option(
        "lease",
        duration(least="13ms", most="1h"),
        "how long a vote counts, and so how long after a host's loss another takes; at least 2.5 x interval",
        otherwise=f"3.5 x interval; with `coordination` at least {format_duration(USUAL_LEASE_S)}",
    ),
    Option("insecure", FLAG, "heartbeats without key, readable and forgeable: for labs", default="false"),
)

WITNESS = (
    Option("tcp", HOST_AND_PORT, "whether a connection is accepted there", otherwise="none", example='"10.0.0.1:443"'),
    Option("http", HOST_URL, "whether it answers, and with a status below 500", otherwise="none"),
    Option("icmp", NODE_ADDRESS, "whether it answers an echo request", otherwise="none"),
    Option(
        "timeout", duration(least="5ms", most="10s"), "no answer within this is none", otherwise="half of the lease"
    ),
)

GUARDS = (
    Option("arp", FLAG, "what a neighbour still answers for is not taken (`available`)", default="true"),
    Option(
        "gateway",
        GATEWAY,
        "who alone does not reach it lets go and does not take (`available`); `auto`: each group's interface's own",
        default="auto",
    ),
    Option(
        "witness", section(*WITNESS), "a third party: to reach it is worth as much as the gateway", otherwise="none"
    ),
)

PROCESS = (
    Option(
        "realtime",
        FLAG,
        "the agent runs before every ordinary process, with its memory locked; for hosts that are often overloaded",
        default="false",
    ),
)

HOOKS = (
    Option("taken", PATH, "run after the group became active here", otherwise="none"),
    Option("released", PATH, "run after the group was let go here", otherwise="none"),
    Option("failed", PATH, "run after taking the group failed here", otherwise="none"),
    Option("timeout", duration(least="100ms", most="1h"), "a hook that runs longer is killed", default="10s"),
)

GROUP = (
    Option(
        "addresses",
        list_of(GROUP_ADDRESS, "a list of addresses with prefix length"),
        "the addresses that fail over; without a prefix length `/32` or `/128` is meant",
        required=True,
        example="[10.20.1.100/24]",
    ),
    Option("interface", NETWORK, "where the addresses are put", otherwise="the one of `heartbeat.interfaces`"),
    Option("backend", PLUG_IN, "how clients are steered to the holder", default="arp"),
    Option(
        "prefer",
        list_of(NAME, "a list of node names"),
        "who tries first; nodes that are not named come after those that are",
        otherwise="no preference",
    ),
    Option("failback", FAILBACK, "whether a fitter node gets the group back by itself", default="manual"),
    Option("checks", CHECKS, "what must be well for a node to hold the group", otherwise="none"),
    Option("hooks", section(*HOOKS), "programs to run", otherwise="none"),
)

TOP = (
    Option("cluster", NAME, "the cluster's name", required=True, example="shop"),
    Option(
        "key_file",
        list_of(PATH, "an absolute path, or a list of them"),
        "files with the cluster key; of several keys the first seals and all open",
        otherwise=f"`{DEFAULT_KEY_FILE}`",
    ),
    Option(
        "nodes",
        sections("node", *NODE, most=MAX_NODES),
        "the hosts that run the agent",
        required=True,
        example="{A: {address: 10.20.1.10}, B: {address: 10.20.1.11}}",
    ),
    Option("heartbeat", section(*HEARTBEAT), "how the nodes hear each other", otherwise="as below"),
    Option(
        "on_partition",
        choice("consistent", "available"),
        "who may hold when the cluster is cut: only a majority of all voters, or of those still heard",
        otherwise="`consistent` with three voters or more or with `coordination`, else `available`",
    ),
    Option(
        "alone_after",
        duration(least="13ms", most="2h"),
        "how long a node that starts and hears nobody waits before it takes anything (`available`)",
        otherwise="5s, at least 2 x lease",
    ),
    Option("failure_expiry", duration(least="1s", most="168h"), "when a failed take is forgotten", default="10m"),
    Option(
        "gate",
        choice("auto", "off"),
        "rules of nf_tables that let traffic to a group's addresses through only while its lease is fresh",
        default="auto",
    ),
    Option("process", section(*PROCESS), "how the agent itself runs", otherwise="as below"),
    Option("guards", section(*GUARDS), "what is asked besides the votes before a group is taken", otherwise="as below"),
    Option(
        "coordination", section(*COORDINATION), "who gives the leases, if not the nodes' own votes", otherwise="nobody"
    ),
    Option(
        "groups",
        sections("group", *GROUP, most=MAX_GROUPS, later=LATER),
        "what fails over",
        required=True,
        example="{web: {addresses: [10.20.1.100/24]}}",
    ),
)
FILE = section(*TOP, later=LATER)


def option_table() -> str:
    """The table of docs/configuration.md."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, option in every_option():
        cells = (f"`{path}`", option.kind.words, _default_words(option), option.meaning)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def every_option(options: tuple[Option, ...] = TOP, path: str = "") -> Iterator[tuple[str, Option]]:
    for option in options:
        here = f"{path}.{option.key}" if path else option.key
        yield here, option
        below = f"{here}.{option.kind.named.upper()}" if option.kind.named else here
        yield from every_option(option.kind.options, below)


def _default_words(option: Option) -> str:
    if option.required:
        return "required"
    return f"`{option.default}`" if option.default else option.otherwise
