"""The way to the peers: are they heard, on every link, and do they mean the same cluster?

The running agent is asked, because it knows both directions: a peer is online only while each hears the other. Where
none runs, what can be heard from here is half of the truth, and it is said that it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from haagent import __version__
from haagent.core.wire import Cause
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, warning
from haagent.doctor.listener import Hearing
from haagent.heartbeats.part import DEAF_CAUSES

Facts = dict[str, Any]
# What a neighbour's datagram is dropped for without anything being wrong here.
HARMLESS = {Cause.FOREIGN, Cause.OWN, Cause.MALFORMED}
ABOUT_KEYS = (Cause.UNKNOWN_KEY, Cause.AUTH, Cause.PLAINTEXT)
SAME_KEY = "copy the key file of one node to all others (`haagent doctor` shows each node's key number)"


async def heartbeats(subject: Subject) -> AsyncIterator[Finding]:
    if subject.config is None or not subject.peers:
        return
    if subject.agent is not None:
        found = _told_by_agent(subject, subject.agent)
    elif subject.agent_fault:
        return  # the agent has the sockets, and `agent` says what is wrong with it
    else:
        found = _heard(subject, await subject.hearing())
    for finding in found:
        yield finding


def _told_by_agent(subject: Subject, agent: Facts) -> Iterator[Finding]:
    for link in agent.get("links", ()):
        if not link["is_up"]:
            yield error(
                f"link {link['name']} carries no heartbeats: {link['why'] or 'it is down'}",
                why="With one link less, the next fault may cut this node off.",
                mend="ip address show; see what `interfaces` says above",
            )
    names = {link["name"] for link in agent.get("links", ()) if link["is_up"]}
    for member in subject.others:
        missing = sorted(names - set(member["links"]))
        if member["state"] == "offline":
            yield _silent(subject, member["name"], "the agent does not hear it, or is not heard by it")
        elif missing:
            yield warning(
                f"{member['name']} is not heard over {', '.join(missing)}",
                why="One link is left; when that one fails the node counts as lost.",
                mend=f"{_tcpdump(subject, missing[0])}, on both nodes",
            )
        else:
            yield ok(f"{member['name']} and this node hear each other over {', '.join(sorted(member['links']))}")
    counters = agent.get("counters", {})
    for cause in ABOUT_KEYS:
        if count := counters.get(f"dropped_{cause}"):
            text = f"{count} datagrams were not believed since the agent started"
            yield warning(text, why=DEAF_CAUSES[cause], mend=SAME_KEY)


def _heard(subject: Subject, hearing: Hearing) -> Iterator[Finding]:
    for link, fault in hearing.faults.items():
        yield error(
            f"heartbeats cannot use {link}: {fault}", why="This node would be cut off.", mend="see `interfaces`"
        )
    yield from _disbelieved(hearing)
    for link in sorted(hearing.deaf):
        if not hearing.links[link]:
            yield _deaf(subject, link)
    nowhere = [peer.name for peer in subject.peers if peer.name not in hearing.beats]
    if not hearing.has_opener or len(hearing.faults) == len(hearing.links):
        return
    for name in nowhere:
        yield _silent(subject, name, f"in {hearing.seconds:g} s")
    for link, names in hearing.links.items():
        for peer in subject.peers:
            if peer.name in names:
                yield ok(f"heartbeats of {peer.name} arrive over {link} (whether it hears this node is not known yet)")
            elif peer.name not in nowhere and link not in hearing.faults:
                yield warning(
                    f"no heartbeat of {peer.name} came over {link}",
                    why="It is heard elsewhere; when that link fails it counts as lost.",
                    mend=_tcpdump(subject, link),
                )


def _disbelieved(hearing: Hearing) -> Iterator[Finding]:
    for (cause, sender), count in sorted(hearing.dropped.items()):
        if cause in HARMLESS:
            continue
        text = f"{count} datagrams from {sender} are not believed: {cause.meaning}"
        mend = SAME_KEY if cause in ABOUT_KEYS else "put the same configuration and release on every node"
        yield error(text, why=DEAF_CAUSES.get(cause, "That node would not be heard."), mend=mend)


def _deaf(subject: Subject, link: str) -> Finding:
    assert subject.config is not None
    port = subject.config.heartbeat.port
    return error(
        f"a datagram from this host to itself did not arrive on {link}: a firewall of this host drops UDP port {port}",
        why="Heartbeats of the peers would be dropped as well.",
        mend=f"nft add rule inet filter input iifname {link} udp dport {port} accept  (or your firewall's own way)",
    )


def _silent(subject: Subject, name: str, how: str) -> Finding:
    config = subject.config
    assert config is not None
    advice = (
        f"systemctl status haagent on {name}; {_tcpdump(subject, '')}; let UDP port {config.heartbeat.port} through"
    )
    if config.heartbeat.transport != "unicast":
        advice += "; on a switch with IGMP snooping there must be a querier (see `multicast`)"
    return warning(f"{name} is not heard: {how}", why="Its agent does not run, or the way to it is cut.", mend=advice)


def _tcpdump(subject: Subject, link: str) -> str:
    assert subject.config is not None
    known = link in subject.links
    return f"tcpdump -ni {link if known else 'any'} udp port {subject.config.heartbeat.port}"


async def peers(subject: Subject) -> AsyncIterator[Finding]:
    """Do they run the same configuration and release?"""
    config = subject.config
    if config is None or not subject.peers or subject.agent_fault:
        return
    if subject.agent is not None:
        facts = [(one["name"], one["config_matches"], one["version"]) for one in subject.others if one["version"]]
    else:
        beats = (await subject.hearing()).beats.values()
        facts = [(beat.node, beat.config_hash in ("", config.digest), beat.version) for beat in beats]
    for name, is_same, version in facts:
        if not is_same:
            yield warning(
                f"{name} runs a different configuration from this node",
                why="Nodes that do not agree on addresses or timings do not do what either file says.",
                mend="put the same file on every node, then `haagent reload` on each",
            )
        if version != __version__:
            text = f"{name} runs release {version}, and {__version__} is installed here"
            yield info(text, why="Neighbouring releases work together.", mend="finish the upgrade")
        if is_same and version == __version__:
            yield ok(f"{name} has the same configuration and release")
