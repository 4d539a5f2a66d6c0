"""nf_tables: can this kernel carry the gate, and does a rule set drop the heartbeats?"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, info, ok, output_of, warning

MODULES = "modprobe -a nf_tables nft_fib_ipv4 nft_fib_ipv6"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
NO_GATE = (
    "When the agent is killed or frozen, this host goes on answering for its addresses for some seconds, "
    "until their lifetimes end."
)


def gate(subject: Subject) -> Iterator[Finding]:
    config = subject.config
    if config is not None and (config.gate == "off" or config.nodes[config.me].witness):
        yield ok("no gate is wanted here")
        return
    if subject.agent is not None:
        yield from _of_agent(subject.agent)
        return
    if not subject.is_privileged or subject.agent_fault:
        return
    from haagent.gate.trial import Trial

    trial = Trial()
    if trial.why:
        yield warning(f"the gate does not work here: {trial.why}", why=NO_GATE, mend=MODULES)
        return
    if trial.leftover:
        yield warning(
            "the gate of an agent that has died is still in place, and no agent runs",
            why="It keeps the floating addresses silent here.",
            mend="systemctl start haagent, or haagent release",
        )
    if not trial.persists:
        yield info(
            "another program can remove the gate's permanent table",
            why="`nft flush ruleset` does. The agent notices and makes it again.",
            mend="a kernel from 6.9 on guards it",
        )
    yield ok("the kernel takes the gate's rules")


def _of_agent(agent: dict[str, Any]) -> Iterator[Finding]:
    lacking = {group["gate"]["why"] for group in agent.get("groups", ()) if group["gate"]["state"] == "unavailable"}
    for why in sorted(lacking):
        yield warning(f"the agent has no gate: {why}", why=NO_GATE, mend=MODULES)
    if not lacking:
        yield ok("the agent's gate is in place")


async def port(subject: Subject) -> AsyncIterator[Finding]:
    """Chains that drop by default and do not name the port. A hint: rules can be written in many ways."""
    config = subject.config
    if config is None or not subject.is_privileged:
        return
    program = shutil.which("nft", path=PATH)
    listed = await output_of(program, "--json", "list", "ruleset") if program else None
    if listed is None:
        return
    suspects = list(_suspects(json.loads(listed)["nftables"], config.heartbeat.port))
    heard = any(member["state"] != "offline" for member in subject.others)
    for chain, is_foreign in suspects:
        family, table, name = chain.split()
        text = f"chain {chain} drops by default, and no rule there names UDP port {config.heartbeat.port}"
        why = "Heartbeats of the peers may be dropped."
        if heard or is_foreign:
            yield info(text, why="Peers are heard all the same." if heard else "Rules of iptables cannot be read here.")
        else:
            mend = f"nft add rule {family} {table} {name} udp dport {config.heartbeat.port} accept"
            yield warning(text, why=why, mend=f"{mend}; and the same in /etc/nftables.conf")
    if not suspects:
        yield ok(f"no chain is seen to drop UDP port {config.heartbeat.port}")


def _suspects(rules: list[dict[str, Any]], number: int) -> Iterator[tuple[str, bool]]:
    """`family table chain` of each input chain, and whether it has rules that only iptables understands."""
    for each in rules:
        chain = each.get("chain", {})
        if (
            chain.get("hook") != "input"
            or chain.get("policy") != "drop"
            or chain["family"] not in ("ip", "ip6", "inet")
        ):
            continue
        inside = [
            rule["rule"]["expr"]
            for rule in rules
            if "rule" in rule and (rule["rule"]["family"], rule["rule"]["table"]) == (chain["family"], chain["table"])
        ]
        if not any(_names_port(expression, number) for expression in inside):
            yield f"{chain['family']} {chain['table']} {chain['name']}", '"xt"' in json.dumps(inside)


def _names_port(value: Any, number: int) -> bool:
    """The number, or a range with it, anywhere in a rule."""
    if isinstance(value, dict):
        ends = value.get("range")
        if isinstance(ends, list) and all(isinstance(end, int) for end in ends):
            return bool(ends[0] <= number <= ends[1])
        return any(_names_port(below, number) for below in value.values())
    if isinstance(value, list):
        return any(_names_port(below, number) for below in value)
    return bool(value == number) and not isinstance(value, bool)
