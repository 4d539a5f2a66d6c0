"""The agent's status and counters, as Prometheus reads them. Names and labels are stable, and declared in `METRICS`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from haagent.core.event_kinds import severity_of
from haagent.parts import Facts

CONTENT_TYPE = CONTENT_TYPE_LATEST
EVENTS = "haagent_events"
NODE, GROUP, LINK = ("node",), ("group",), ("link",)

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "haagent_info": ("1; the labels say which agent this is", ("cluster", "node", "version")),
    "haagent_quorate": ("1: this node is with a majority", ()),
    "haagent_maintenance": ("1: maintenance is on, nothing moves", ()),
    "haagent_members": ("nodes in the configuration", ()),
    "haagent_members_online": ("of them those that this node hears and is heard by, itself among them", ()),
    "haagent_member_online": ("1: that node is one of these", NODE),
    "haagent_group_held": ("1: this node holds the group", GROUP),
    "haagent_group_active": ("1: the group is active on this node", GROUP),
    "haagent_group_lease_seconds": ("what is left of this node's lease of the group; 0: it has none", GROUP),
    "haagent_group_outage_seconds": (
        "how long clients were without it at its last move, where that was seen",
        GROUP,
    ),
    "haagent_link_up": ("1: heartbeats can go over that link", LINK),
    "haagent_jitter_seconds": ("how late the agent was woken at worst in the last minute", ()),
    "haagent_clock_slew_ratio": ("by how much the host's clock is made to run faster than its hardware counter", ()),
    "haagent_sessions_ready": ("1: the session store of this node may be read and written", ()),
    "haagent_sessions_clients": ("connections of applications to it", ()),
    "haagent_sessions_keys": ("what it holds, of all databases", ()),
    "haagent_sessions_bytes": ("and the memory that this takes, roughly", ()),
    "haagent_sessions_peer_linked": ("1: the store of that node is linked to this one", NODE),
    "haagent_sessions_peer_in_sync": ("1: it has what was changed here, or is waited for", NODE),
    "haagent_sessions_peer_queue": ("changes of this node that it has not confirmed", NODE),
    "haagent_sessions_peer_queue_bytes": ("the bytes of these, roughly", NODE),
    "haagent_sessions_peer_lag_seconds": ("how long the oldest of these has waited", NODE),
    "haagent_sessions_peer_ack_seconds": (
        "how long its latest thousand confirmations took",
        ("node", "quantile"),
    ),
    "haagent_sessions_peer_full_sync_age_seconds": ("since all was last compared with it", NODE),
    "haagent_warnings": ("sentences that `haagent status` warns with", ()),
}

_AMOUNTS = ("clients", "keys", "bytes")  # of sessions


def exposition(facts: Facts, counters: Mapping[str, int]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(facts, counters))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, facts: Facts, counters: Mapping[str, int]) -> None:
        self._facts, self._counters = facts, counters

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        samples = _samples(self._facts)
        for name, (meaning, labels) in METRICS.items():
            family = GaugeMetricFamily(name, meaning, labels=labels)
            for values, value in samples[name]:
                family.add_metric(values, value)
            yield family
        told = CounterMetricFamily(EVENTS, "events of that kind that this node has told", labels=("kind", "severity"))
        for name, count in sorted(self._counters.items()):
            if name.startswith("events_"):
                kind = name.removeprefix("events_")
                told.add_metric((kind, severity_of(kind).value), count)
                continue
            word = re.sub(r"\W", "_", name, flags=re.ASCII)
            yield CounterMetricFamily(f"haagent_{word}", f"{name} of `haagent status`", value=count)
        yield told


def _samples(facts: Facts) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    me, groups, members = facts["node"], facts["groups"], facts["members"]
    held = {group["name"]: group["holder"] == me for group in groups}
    online = {member["name"]: member["state"] != "offline" for member in members}
    jitter_ms, slew = facts.get("jitter_ms"), facts.get("clock_slew_percent")
    return {
        "haagent_info": [((facts["cluster"], me, facts["version"]), 1)],
        "haagent_quorate": [((), facts["quorate"])],
        "haagent_maintenance": [((), facts["maintenance"])],
        "haagent_members": [((), len(members))],
        "haagent_members_online": [((), sum(online.values()))],
        "haagent_member_online": [((name,), is_online) for name, is_online in online.items()],
        "haagent_group_held": [((name,), is_held) for name, is_held in held.items()],
        "haagent_group_active": [((each["name"],), held[each["name"]] and each["active"]) for each in groups],
        "haagent_group_lease_seconds": [
            ((each["name"],), (each["lease_ms"] or 0.0) / 1000 if held[each["name"]] else 0.0) for each in groups
        ],
        "haagent_group_outage_seconds": [
            ((each["name"],), each["outage_ms"] / 1000) for each in groups if each["outage_ms"] is not None
        ],
        "haagent_link_up": [((link["name"],), link["is_up"]) for link in facts.get("links", ())],
        "haagent_jitter_seconds": [] if jitter_ms is None else [((), jitter_ms / 1000)],
        "haagent_clock_slew_ratio": [] if slew is None else [((), slew / 100)],
        "haagent_warnings": [((), len(facts["warnings"]))],
        **_of_sessions(facts.get("sessions", {})),
    }


def _of_sessions(sessions: Facts) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """None of them but readiness while the store does not serve."""
    peers = sessions.get("peers", ())

    def of_peers(field: str, unit: float = 1) -> list[tuple[tuple[str, ...], float]]:
        return [((peer["name"],), peer[field] / unit) for peer in peers if peer[field] is not None]

    acks = {"0.5": of_peers("ack_p50_ms", 1000), "0.99": of_peers("ack_p99_ms", 1000)}
    return {
        "haagent_sessions_ready": [((), bool(sessions.get("ready")))] if sessions else [],
        **{f"haagent_sessions_{word}": [((), sessions[word])] if word in sessions else [] for word in _AMOUNTS},
        "haagent_sessions_peer_linked": of_peers("linked"),
        "haagent_sessions_peer_in_sync": of_peers("in_sync"),
        "haagent_sessions_peer_queue": of_peers("queue"),
        "haagent_sessions_peer_queue_bytes": of_peers("queue_bytes"),
        "haagent_sessions_peer_lag_seconds": of_peers("lag_ms", 1000),
        "haagent_sessions_peer_ack_seconds": [
            ((*labels, share), value) for share, found in acks.items() for labels, value in found
        ],
        "haagent_sessions_peer_full_sync_age_seconds": of_peers("last_full_sync"),
    }
