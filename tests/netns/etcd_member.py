"""A real etcd on the lab's client host, of one member or of three, and a slow way to it.

python etcd_member.py proxy PORT TARGET_PORT     (relays; each line on stdin is the new delay in seconds, each way)
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from haagent.lab import Lab
from haagent.lab.plan import CLIENT

HOST = "10.20.1.1"  # the client, as the nodes see it
CLIENTS, PEERS, PROXY = 2379, 2479, 2579  # ports, of the first member
# With etcd's own 100 and 1000 an election that is split between the two who are left, which happens, is over after up
# to 4 s, and a lease of 3 s is not meant to survive that.
BEAT_MS, ELECTION_MS = 50, 500
# etcd answers no write before it is on disk, and a disk that others use as well may take longer than a lease of 1 s.
MEMORY = Path("/dev/shm")


def in_memory(lab: Lab) -> Path:
    """For what is written on the lab's hosts: removed with the lab."""
    return (MEMORY if MEMORY.is_dir() else lab.directory) / f"haagent-{lab.directory.name}"


BUMP = """
import http.client, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
etcd = http.client.HTTPConnection(host, port)
for _ in range(count):
    etcd.request("POST", "/v3/kv/put", '{"key": "L2J1bXA=", "value": ""}')
    etcd.getresponse().read()
"""


class Member:
    def __init__(self, lab: Lab, number: int = 0, *, of: int = 1) -> None:
        self.lab, self.number, self.of = lab, number, of
        self.port = CLIENTS + number
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _where(self) -> tuple[str, str]:
        """All members; this one, as the others reach it."""
        peers = ",".join(f"m{each}=http://{HOST}:{PEERS + each}" for each in range(self.of))
        return peers, f"http://{HOST}:{PEERS + self.number}"

    def start(self, *, data: str = "", aside: int = 0) -> None:
        """`data`: which of several states is its own; `aside`: so many ports further on, where nobody asks it."""
        peers, theirs = self._where
        self.port = CLIENTS + self.number + aside
        mine = f"http://{HOST}:{self.port}"
        options = {
            "name": f"m{self.number}",
            "data-dir": str(in_memory(self.lab) / f"{self.number}{data}"),
            "listen-client-urls": mine,
            "advertise-client-urls": mine,
            "listen-peer-urls": f"http://{HOST}:{PEERS + self.number + aside}",
            "initial-advertise-peer-urls": theirs,
            "initial-cluster": peers,
            "heartbeat-interval": BEAT_MS,
            "election-timeout": ELECTION_MS,
            "log-level": "error",
        }
        words = " ".join(f"--{name} '{value}'" for name, value in options.items())
        log = f"{self.lab.directory}/etcd{self.number}.log"
        self._process = self.lab.start_on(CLIENT, ["sh", "-c", f"exec etcd {words} >'{log}' 2>&1"])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def control(self, *words: str, checks: bool = True) -> str:
        """`etcdctl WORDS` on the client host."""
        command = ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", f"http://{HOST}:{self.port}", *words]
        return self.lab.run(CLIENT, command, checks=checks).stdout

    def restored(self, backup: Path, *, data: str) -> None:
        """A state `data` from a backup, for the only member. It keeps its name."""
        peers, theirs = self._where
        place = in_memory(self.lab) / f"{self.number}{data}"
        words = ["--data-dir", str(place), "--name", f"m{self.number}", "--initial-cluster", peers]
        self.control("snapshot", "restore", str(backup), *words, "--initial-advertise-peer-urls", theirs)

    @property
    def revision(self) -> int:
        status = json.loads(self.control("endpoint", "status", "-w", "json"))
        return int(status[0]["Status"]["header"]["revision"])

    def bump(self, revision: int) -> None:
        """As `--bump-revision` of later releases does."""
        self.lab.run(CLIENT, [sys.executable, "-c", BUMP, HOST, str(self.port), str(revision - self.revision)])

    @property
    def is_leader(self) -> bool:
        fields = self.control("endpoint", "status", "-w", "fields", checks=False)
        named = dict(line.split(" : ") for line in fields.splitlines() if " : " in line)
        return bool(named) and named['"MemberID"'] == named['"Leader"']


def configured(path: Path, *ports: int, more: str = "") -> str:
    """The path of a file to lay over the lab's configuration."""
    endpoints = ", ".join(f'"http://{HOST}:{port}"' for port in ports)
    path.write_text(f"coordination: {{etcd: {{endpoints: [{endpoints}]}}}}\n{more}")
    return str(path)


def cut_from_etcd(lab: Lab, node: str) -> None:
    """Of all that the node says and hears, only what is etcd's is lost."""
    rules = "add table inet cut; " + "".join(
        f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; }}; add rule inet cut {hook} {match} drop; "
        for hook, match in (
            ("output", f"tcp dport {CLIENTS}-{PROXY}"),
            ("input", f"tcp sport {CLIENTS}-{PROXY}"),
        )
    )
    lab.run(node, ["nft", rules])


def heal_etcd(lab: Lab, node: str) -> None:
    lab.run(node, ["nft", "delete table inet cut"])


class SlowWay:
    """A proxy on the client host, at `PROXY`, to the first member."""

    def __init__(self, lab: Lab) -> None:
        words = [sys.executable, __file__, "proxy", str(PROXY), str(CLIENTS)]
        self._process = lab.start_on(CLIENT, words)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def delay(self, each_way_s: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{each_way_s}\n".encode())
        self._process.stdin.flush()


class _Proxy:
    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0

    async def serve(self, port: int) -> None:
        await asyncio.start_server(self._relay, HOST, port)
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            self.delay_s = float(line)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(on_the_way, target))
        try:
            while data := await source.read(65536):
                on_the_way.put_nowait((time.monotonic() + self.delay_s, data))
        except OSError:
            return
        finally:
            on_the_way.put_nowait((time.monotonic() + self.delay_s, b""))
            await arriving

    async def _arrive(self, on_the_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        while True:
            at_s, data = await on_the_way.get()
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            if not data or target.is_closing():
                target.close()
                return
            target.write(data)


if __name__ == "__main__":
    asyncio.run(_Proxy(int(sys.argv[3])).serve(int(sys.argv[2])))
