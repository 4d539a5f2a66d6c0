"""Which program manages an interface, and does it leave addresses alone that it does not know?

networkd and NetworkManager say themselves, in files under /run, which interfaces are theirs. The floating addresses
have a lifetime, so networkd takes them for addresses of DHCP: `KeepConfiguration=yes` (or `true`) is what covers them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, info, ok, warning

KEEPS = {"yes", "true", "1", "on", "dhcp", "dynamic"}
EXAMPLES = "/usr/share/doc/haagent/examples/network"
WHY = "It may remove the floating address when its configuration is applied anew; the agent puts it back, but late."
_SETTING = re.compile(r"^KeepConfiguration\s*=\s*(\S*)", re.MULTILINE)
_SECTION = re.compile(r"^\[([^]]+)\]", re.MULTILINE)


def network_manager(subject: Subject) -> Iterator[Finding]:
    for link in subject.served():
        found = [*_networkd(subject, link.name, link.index), *_network_manager(subject, link.name, link.index)]
        yield from found or [ok(f"no network manager is known to change {link.name}")]


def _networkd(subject: Subject, name: str, index: int) -> Iterator[Finding]:
    state = subject.read(f"/run/systemd/netif/links/{index}") or ""
    values = dict(line.split("=", 1) for line in state.splitlines() if "=" in line)
    file = values.get("NETWORK_FILE", "")
    if not file or values.get("ADMIN_STATE") == "unmanaged":
        return
    kept = _keep_configuration(subject, file)
    if kept in KEEPS:
        yield ok(f"systemd-networkd manages {name} and keeps what it does not know")
        return
    drop_in = f"/etc/systemd/network/{file.rpartition('/')[2]}.d"
    manager = "systemd-networkd"
    if "netplan" in file:
        manager = "netplan (systemd-networkd)"
        mend = f"cp {EXAMPLES}/netplan.yaml /etc/netplan/90-haagent.yaml, with {name} in it; netplan apply"
    else:
        mend = f"mkdir -p {drop_in} && cp {EXAMPLES}/networkd.conf {drop_in}/haagent.conf && networkctl reload"
    yield warning(f"{manager} manages {name}, and does not keep addresses that it does not know", why=WHY, mend=mend)


def _keep_configuration(subject: Subject, file: str) -> str:
    """Drop-ins count by their names, whatever directory they are in, and come after the file itself."""
    drop_ins: dict[str, str] = {}
    for place in ("/usr/lib", "/run", "/etc"):
        directory = f"{place}/systemd/network/{file.rpartition('/')[2]}.d"
        for found in (subject.root / directory.lstrip("/")).glob("*.conf"):
            drop_ins[found.name] = f"{directory}/{found.name}"
    said = ""
    for each in (file, *(path for _, path in sorted(drop_ins.items()))):
        for value in _SETTING.findall(subject.read(each) or ""):
            said = value.lower()
    return said


def _network_manager(subject: Subject, name: str, index: int) -> Iterator[Finding]:
    state = subject.read(f"/run/NetworkManager/devices/{index}") or ""
    if "managed=true" not in state and "connection-uuid=" not in state:
        return
    if _is_named_for_network_manager(subject, name):
        yield ok(f"NetworkManager manages {name}, and is told about it")
        return
    yield info(
        f"NetworkManager manages {name}",
        why=WHY,
        mend=f"cp {EXAMPLES}/NetworkManager.conf /etc/NetworkManager/conf.d/90-haagent.conf, with {name} in it; "
        "systemctl reload NetworkManager",
    )


def _is_named_for_network_manager(subject: Subject, name: str) -> bool:
    """A [device...] section that matches the interface and keeps its configuration."""
    for place in ("/usr/lib/NetworkManager/conf.d", "/etc/NetworkManager/conf.d"):
        for file in sorted((subject.root / place.lstrip("/")).glob("*.conf")):
            pieces = _SECTION.split(subject.read(f"{place}/{file.name}") or "")
            for title, body in zip(pieces[1::2], pieces[2::2], strict=False):
                matched = re.search(r"^match-device\s*=\s*(.*)$", body, re.MULTILINE)
                names = re.findall(r"interface-name:([^;,\s]+)", matched[1]) if matched else []
                is_kept = re.search(r"^(keep-configuration\s*=\s*(yes|true|1)|managed\s*=\s*(0|no|false))", body, re.M)
                if title.startswith("device") and is_kept and any(fnmatch.fnmatch(name, one) for one in names):
                    return True
    return False
