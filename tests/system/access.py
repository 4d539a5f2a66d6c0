"""How a test run gets into its hosts: keys of its own, and one ssh configuration for ssh, testinfra and Ansible alike.

The hosts are on a switch that this machine has no interface on. So the connection is made by a process in the client's
network namespace, which hands the connected socket to ssh; everything else of ssh, of Ansible and of the tests stays
out here with this machine's files. Connections are shared, so that a question costs milliseconds.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.system.host import Access, Host

_CONNECT = """\
import socket, sys
connected = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
connected.setblocking(True)
socket.send_fds(socket.socket(fileno=1), [b"x"], [connected.fileno()])
"""

_CONFIG = """Host *
  User root
  IdentityFile {directory}/id
  IdentitiesOnly yes
  UserKnownHostsFile {directory}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  HostKeyAlgorithms ssh-ed25519
  PasswordAuthentication no
  ProxyCommand {connect} %h %p
  ProxyUseFdpass yes
  ControlMaster auto
  ControlPath {directory}/%h-%r
  ControlPersist 60
  ServerAliveInterval 1
  ServerAliveCountMax 3
  LogLevel ERROR
"""


class Ssh:
    """`directory`: short (sockets live in it) and of this run alone."""

    def __init__(self, directory: Path, *, enter_network: list[str]) -> None:
        self.directory = directory
        directory.chmod(0o700)
        for name in ("id", "host"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name], check=True
            )
        (directory / "connect.py").write_text(_CONNECT)
        connect = [*enter_network, sys.executable, "-S", "-E", str(directory / "connect.py")]
        self.config = directory / "config"
        self.config.write_text(_CONFIG.format(directory=directory, connect=shlex.join(connect)))

    @property
    def access(self) -> Access:
        authorized, host_key = (self.directory / "id.pub").read_text(), (self.directory / "host").read_text()
        return Access(authorized_key=authorized, host_key=host_key)

    def know(self, addresses: Iterable[str]) -> None:
        key = " ".join((self.directory / "host.pub").read_text().split()[:2])
        (self.directory / "known_hosts").write_text("".join(f"{address} {key}\n" for address in addresses))

    def forget(self, host: Host) -> None:
        """End the shared connections: their host has died, or is about to."""
        self._end(f"{host.address}-*")

    def close(self) -> None:
        self._end("*-*")

    def _end(self, pattern: str) -> None:
        for path in self.directory.glob(pattern):
            if path.is_socket():
                command = ["ssh", "-F", str(self.config), "-S", str(path), "-O", "exit", "any"]
                subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)

    def environment(self) -> dict[str, str]:
        """For Ansible: this configuration, and nothing of whoever runs the tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return kept | {
            "ANSIBLE_SSH_ARGS": f"-F {self.config}",
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }
