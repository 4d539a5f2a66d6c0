"""The machine: its kernel, what this process and the agent may do, its clock, and whether it is a cloud's."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator

from haagent.doctor.context import NET_ADMIN, NET_RAW, Subject
from haagent.doctor.finding import Finding, error, info, ok, warning

OLDEST = (5, 3)  # pidfd_open, with which the guardian waits
# What a kernel lacks that is older than this: from the newest on.
NEWS = (
    ((6, 9), "another program's `nft flush ruleset` can remove the gate's table; the agent makes it again"),
    (
        (5, 18),
        "an address cannot be marked as the agent's; after a crash it is known by its label, or by being configured",
    ),
    ((5, 12), "the gate does not shut by itself when the agent dies: only the addresses' lifetimes protect"),
)
TIME_ERROR = 5  # adjtimex(2)


def kernel(subject: Subject) -> Iterator[Finding]:
    release = os.uname().release
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if version < OLDEST:
        yield error(
            f"kernel {release} is too old", why="The guardian needs 5.3.", mend="apt full-upgrade, and boot the new one"
        )
        return
    missing = [what for since, what in NEWS if version < since]
    for what in missing:
        yield info(f"kernel {release}: {what}", mend="A newer kernel has it.")
    if not missing:
        yield ok(f"kernel {release}")


def privileges(subject: Subject) -> Iterator[Finding]:
    pid = ((subject.agent or {}).get("pids") or {}).get("agent")
    if pid:
        names = {NET_ADMIN: "CAP_NET_ADMIN", NET_RAW: "CAP_NET_RAW"}
        has = subject.capabilities(pid)
        missing = [name for number, name in names.items() if not has >> number & 1]
        if missing:
            yield error(
                f"the running agent lacks {' and '.join(missing)}",
                why="It cannot put addresses on interfaces, or cannot tell the neighbours.",
                mend="systemctl cat haagent, and compare with the packaged unit",
            )
        else:
            yield ok("the agent has the capabilities that it needs")
    if not subject.is_privileged:
        yield info(
            "the gate, the firewall and the neighbours were not examined: that takes CAP_NET_ADMIN and CAP_NET_RAW",
            mend="sudo haagent doctor",
        )


def time(subject: Subject) -> Iterator[Finding]:
    # struct timex begins with `modes`, 0: only look. 208 bytes on 64-bit systems.
    status = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    if status == TIME_ERROR:
        yield info(
            "the clock is not synchronised",
            why="Leases do not depend on it; but the history of several nodes is in order only with clocks that agree.",
            mend="apt install systemd-timesyncd, or chrony",
        )
    elif status >= 0:
        yield ok("the clock is synchronised")


# What the firmware says of its maker, and the cloud that this means. Only files are read.
CLOUDS = (
    ("sys_vendor", "Amazon EC2", "AWS"),
    ("bios_vendor", "Amazon EC2", "AWS"),
    ("product_name", "Google Compute Engine", "Google Cloud"),
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "Azure"),
    ("chassis_asset_tag", "OracleCloud.com", "Oracle Cloud"),
    ("sys_vendor", "DigitalOcean", "DigitalOcean"),
    ("sys_vendor", "Hetzner", "Hetzner Cloud"),
    ("sys_vendor", "Alibaba Cloud", "Alibaba Cloud"),
    ("sys_vendor", "OpenStack Foundation", "OpenStack"),
)


def cloud(subject: Subject) -> Iterator[Finding]:
    said = {file: subject.read(f"/sys/class/dmi/id/{file}") or "" for file, _, _ in CLOUDS}
    name = next((name for file, begins, name in CLOUDS if said[file].startswith(begins)), "")
    if not name:
        yield ok("the firmware names no cloud")
        return
    config = subject.config
    if config is None:
        yield info(f"this host is in {name}: write `transport: unicast`")
        return
    if config.heartbeat.transport == "multicast":
        yield error(
            f"this host is in {name}, and heartbeats are sent by multicast",
            why="The networks of clouds do not carry it: no node would hear another.",
            mend="write `heartbeat: {transport: unicast}`, and an `address` for each node",
        )
    elif config.heartbeat.transport == "both":
        yield info(f"this host is in {name}, which carries no multicast: `transport: unicast` does as well as `both`")
    for group in subject.groups:
        if group.backend.kind == "arp":
            yield warning(
                f"group {group.name} is announced by ARP, and this host is in {name}",
                why="A cloud's router sends an address where its tables say, and does not learn from ARP.",
                mend="let the provider route the address (a secondary address, an elastic IP, a load balancer)",
            )
            break
