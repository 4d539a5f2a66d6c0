"""The checks, and running them all at once.

To add one: write a coroutine that yields findings into the file it belongs in, and name it here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from haagent.doctor import (
    files,
    firewall,
    heartbeats,
    host,
    interfaces,
    multicast,
    neighbours,
    network_managers,
    service,
    sessions,
    sysctls,
    time_services,
    timing,
)
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, Severity, info, warning

LIMIT_S = 2.6  # the whole has to be over within three seconds, and to start takes 0.3


class Check(msgspec.Struct, frozen=True):
    name: str
    examine: Callable[[Subject], Iterator[Finding] | AsyncIterator[Finding]]  # the latter if it has to wait


CHECKS: tuple[Check, ...] = (
    Check("configuration", files.configuration),
    Check("key", files.key),
    Check("run-dir", files.run_dir),
    Check("state-dir", files.state_dir),
    Check("kernel", host.kernel),
    Check("privileges", host.privileges),
    Check("gate", firewall.gate),
    Check("firewall", firewall.port),
    Check("interfaces", interfaces.interfaces),
    Check("addresses", interfaces.addresses),
    Check("ipv6", interfaces.ipv6),
    Check("network-manager", network_managers.network_manager),
    Check("rp_filter", sysctls.rp_filter),
    Check("arp", sysctls.arp),
    Check("promote_secondaries", sysctls.promote_secondaries),
    Check("neighbours", neighbours.neighbours),
    Check("heartbeats", heartbeats.heartbeats),
    Check("multicast", multicast.multicast),
    Check("peers", heartbeats.peers),
    Check("sessions", sessions.sessions),
    Check("jitter", timing.jitter),
    Check("time", host.time),
    Check("time-services", time_services.time_services),
    Check("cloud", host.cloud),
    Check("service", service.unit),
    Check("agent", service.agent),
)


async def examine(subject: Subject, checks: tuple[Check, ...] = CHECKS) -> list[Finding]:
    """The worst first, and otherwise in the order of the checks."""
    found = await asyncio.gather(*(_run(check, subject) for check in checks))
    severities = list(Severity)
    return sorted((finding for each in found for finding in each), key=lambda one: severities.index(one.severity))


async def _run(check: Check, subject: Subject) -> list[Finding]:
    found: list[Finding] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            findings = check.examine(subject)
            if isinstance(findings, Iterator):
                found += findings
            else:
                async for finding in findings:
                    found.append(finding)  # one by one: what was found before the time is over counts
    except TimeoutError:
        text = f"this check was not over after {LIMIT_S:g} s"
        found.append(warning(text, why="So it is not known.", mend="Try again when this host has less to do."))
    except OSError as error:
        found.append(info(f"this could not be looked at: {error}", mend="Run `haagent doctor` as root."))
    return [msgspec.structs.replace(finding, check=check.name) for finding in found]
