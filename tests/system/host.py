"""One host: Debian with its own systemd in a container, on an overlay of a cached root, with a cable to the switch.

It can be lost as a host is lost (cable and power in one moment) and booted again from the disk it had, and it can
reboot itself. Its network namespace is new after each boot, as a kernel's would be: no address, rule or socket of an
earlier life can help or harm.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from haagent.lab import plan as lab_plan
from tests.system.network import AREA, GROUPS, Stage
from tests.system.roots import OPERATOR

INTERFACE = "host0"  # what systemd-nspawn calls it

# The MAC and the TTL are those of the plan: by them the prober knows who answered. The observer's entry is permanent,
# because a host that asked for it would do so in the name of the floating address.
_NETWORK = """[Match]
Name={interface}

[Link]
MACAddress={mac}

[Network]
Address={ipv4}
Address={ipv6}
Gateway={gateway}
IPv6AcceptRA=no
IPv6HopLimit={ttl}
LinkLocalAddressing=ipv6
DHCP=no

[Neighbor]
Address={observer4}
LinkLayerAddress={client_mac}

[Neighbor]
Address={observer6}
LinkLayerAddress={client_mac}
"""

# systemd-nspawn that is not to make a unit ends with this status when the host reboots, and wants to be called again.
_POWER = """
echo $$ > "$0/cgroup.procs" || exit 1
while "$@"; [ $? = 133 ]; do :; done
"""


@dataclass(frozen=True)
class Access:
    """How this test run gets in: the public half of its own key, and the private half of the host's."""

    authorized_key: str
    host_key: str


class Host:
    def __init__(self, stage: Stage, name: str, *, layers: Sequence[str]) -> None:
        """`layers`: read-only directories in the switch's mount namespace, the lowest first."""
        self.name = name
        self.facts = stage.plan.host(name)
        self._stage = stage
        self._layers = layers
        self._place = f"{AREA}/{name}"
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.facts.address

    @property
    def changes(self) -> str:
        """The directory of the switch's mount namespace with what this host has written."""
        return f"{self._place}/upper"

    @property
    def root(self) -> str:
        """Its disk, mounted, in the switch's mount namespace."""
        return f"{self._place}/root"

    def path(self, inside: str) -> Path:
        """On its disk, as this process reaches it."""
        return self._stage.path(f"{self.root}/{inside}")

    def create(self, access: Access) -> None:
        """Give it a disk, and on it its name, its addresses and the way in."""
        place, layers = self._place, ":".join(reversed(self._layers))
        options = f"lowerdir={layers},upperdir={place}/upper,workdir={place}/work"
        script = (
            f"mkdir -p {place}/upper {place}/work {place}/root && mount -t overlay overlay -o {options} {place}/root"
        )
        self._stage.run_on_switch(script)
        self.console.unlink(missing_ok=True)
        self._write("etc/hostname", f"{self.name}\n")
        nodes = "".join(f"{node.address} {node.name}\n" for node in self._stage.plan.nodes)
        self._write("etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{nodes}")
        self._write(f"etc/systemd/network/10-{INTERFACE}.network", self._network())
        self._write("etc/sysctl.d/10-ttl.conf", f"net.ipv4.ip_default_ttl = {self.facts.ttl}\n")
        for home in ("root", f"home/{OPERATOR}"):
            self._write(f"{home}/.ssh/authorized_keys", access.authorized_key)
        self._write("etc/ssh/ssh_host_ed25519_key", access.host_key, mode=0o600)

    def _network(self) -> str:
        port = self.facts.ports[0]
        return _NETWORK.format(
            interface=INTERFACE,
            mac=port.mac,
            ipv4=port.ipv4,
            ipv6=port.ipv6,
            ttl=self.facts.ttl,
            gateway=self._stage.plan.client.address,
            observer4=lab_plan.OBSERVER4,
            observer6=lab_plan.OBSERVER6,
            client_mac=self._stage.plan.client.ports[0].mac,
        )

    def _write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        file = self.path(name)
        file.parent.mkdir(mode=0o755 if mode == 0o644 else 0o700, parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def destroy(self) -> None:
        """Its disk, once it is switched off."""
        self._stage.run_on_switch(f"! mountpoint -q {self.root} || umount {self.root}; rm -rf {self._place}")

    # ---- power ----

    def boot(self) -> None:
        """Switch it on; `wait_up` returns when it is up."""
        group = f"{GROUPS}/{self._group}"
        (self._stage.path(GROUPS) / self._group).mkdir(exist_ok=True)
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot", f"--directory={self._place}/root", f"--machine={self.name}",
            "--register=no", "--keep-unit", "--link-journal=no", "--console=read-only", "--network-bridge=br0",
            "--timezone=off", "--resolv-conf=off",
        ]  # fmt: skip
        with self.console.open("ab") as console:
            words = ["sh", "-c", _POWER, group, *nspawn]
            self._supervisor = self._stage.start(words, output=console.fileno())

    def lose(self) -> None:
        """Cable and power, in one moment. The cable first: a kernel of ours answers a little longer than its host."""
        if self._supervisor is None:
            return
        self._stage.run_on_switch(f"ip link set {self._cable} down")
        self.switch_off()

    def switch_off(self) -> None:
        if self._supervisor is None:
            return
        self._stage.kill_group(self._group)
        self._supervisor.wait(timeout=20)
        self._supervisor = None
        # The kernel takes its time with a namespace that nobody is in, and its name would be taken at the next boot.
        self._stage.run_on_switch(f"ip link delete {self._cable} 2>/dev/null || true")

    def shut_down(self) -> None:
        """As an operator does it: services are stopped, file systems left in order."""
        assert self._supervisor is not None
        self.run(["systemctl", "--no-block", "poweroff"])
        self._supervisor.wait(timeout=60)
        self.switch_off()

    def wait_up(self, *, within_s: float = 60.0) -> None:
        """Until its service manager says that the boot is over (`degraded` counts: a unit may be what is tested)."""
        self.wait_for(self._is_up, what=f"{self.name} is up", within_s=within_s)

    def _is_up(self) -> bool:
        if self._supervisor is not None and self._supervisor.poll() is not None:
            tail = self.console.read_text(errors="replace").splitlines()[-15:]
            raise AssertionError(f"{self.name} ended while it booted:\n" + "\n".join(tail))
        leader = self.leader
        if not leader:
            return False
        said = self.run(["systemctl", "is-system-running"], checks=False).strip()
        return said in ("running", "degraded") and self.leader == leader

    @property
    def console(self) -> Path:
        return self._stage.path(f"{AREA}/{self.name}.console")

    @property
    def leader(self) -> int:
        """Its process 1, as this machine numbers it; 0 when there is none."""
        file = self._stage.path(GROUPS) / self._group / "payload/init.scope/cgroup.procs"
        try:
            words = file.read_text().split()
        except OSError:
            return 0
        return min((int(word) for word in words), default=0)

    @property
    def _group(self) -> str:
        return f"{self._stage.group}/{self.name}"

    @property
    def _cable(self) -> str:
        """The switch's end of it, as systemd-nspawn names it."""
        return f"vb-{self.name}"

    # ---- looking from beside it: for this harness, where ssh is not up or would be in the way ----

    def run(self, command: Sequence[str], *, checks: bool = True, within_s: float = 60.0) -> str:
        words = ["nsenter", "-t", str(self.leader), "-a", "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        done = subprocess.run([*words, *command], capture_output=True, text=True, check=False, timeout=within_s)
        if checks and done.returncode:
            raise RuntimeError(f"on {self.name}, `{' '.join(command)}`: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def wait_for(self, condition: Callable[[], object], *, what: str, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within_s:g} s in vain for this: {what}")
            time.sleep(0.05)
