"""Labs whose nodes keep sessions, among themselves or in a Redis on a host beside them; and how doors are asked."""

from __future__ import annotations

from pathlib import Path

from haagent.lab import Lab
from haagent.lab.configuration import Wishes
from haagent.lab.plan import draw
from tests.support.observe import PATIENCE_S, MakeLab, wait_whole

# Commands as arguments, words separated by blanks; one line of answer each.
ASK = """
import sys, hiredis, socket
with socket.create_connection(("127.0.0.1", 6380), timeout=10) as store:
    for command in sys.argv[1:]:
        store.sendall(hiredis.pack_command(tuple(command.split(" "))))
        reader = hiredis.Reader()
        while (answer := reader.gets()) is False:
            reader.feed(store.recv(65536))
        print(answer if not isinstance(answer, bytes) else answer.decode())
"""

# A node that is starting, until it says that it is well: what it says of its health, and right after that its value of
# a key. Each answer once.
JOIN = """
import http.client, sys, hiredis, socket
answers = []
while not answers or not answers[-1].startswith("200"):
    health, answer = 0, "nothing"
    try:
        web = http.client.HTTPConnection("127.0.0.1", 7266, timeout=10)
        web.request("GET", "/health")
        health = web.getresponse().status
        web.close()
    except (OSError, http.client.HTTPException):
        pass
    try:
        with socket.create_connection(("127.0.0.1", 6380), timeout=10) as store:
            store.sendall(hiredis.pack_command(("GET", sys.argv[1])))
            reader = hiredis.Reader()
            while (said := reader.gets()) is False:
                if not (data := store.recv(65536)):
                    raise ConnectionError
                reader.feed(data)
        answer = said.decode() if isinstance(said, bytes) else str(said).partition(" ")[0]
    except OSError:
        pass
    if (line := f"{health} {answer}") not in answers:
        answers.append(line)
print("\\n".join(answers))
"""
REDIS_HOST, REDIS_PORT, REPLICA_PORT = "C", 6379, 6380  # the first of a lab's spare hosts


def ask(lab: Lab, node: str, *commands: str) -> list[str]:
    return lab.run(node, ["python3", "-c", ASK, *commands]).stdout.splitlines()


def answers_until_ready(lab: Lab, node: str, key: str) -> list[str]:
    """What a node that is starting says of its health and of a key; the last line is of a node that is well."""
    return lab.run(node, ["python3", "-c", JOIN, key]).stdout.splitlines()


def wait_replicated(lab: Lab, *nodes: str) -> None:
    what = f"the stores of {', '.join(nodes)} replicate"
    lab.wait_for(lambda: all(map(lab.agents.replicates, nodes)), what=what, within_s=PATIENCE_S)


def lab_with_sessions(make_lab: MakeLab, place: Path, *, store: str, replication: str, spares: int = 1) -> Lab:
    """A and B, whole and ready; with `redis` a Redis and its replica on a host beside them, to which both point."""
    address = draw(nodes=2, spares=spares).host(REDIS_HOST).address
    url = f", url: 'redis://{address}:{REDIS_PORT}/0'" if store == "redis" else ""
    extra = place / "sessions.yaml"
    extra.write_text(f"sessions: {{store: {store}, replication: {replication}{url}}}\n")
    lab: Lab = make_lab(nodes=2, spares=spares, wishes=Wishes(sessions=True, extra=str(extra)))
    if store == "redis":
        start_redis(lab)
    wait_whole(lab)
    wait_replicated(lab, "A", "B")
    return lab


def start_redis(lab: Lab) -> None:
    """Ends with the lab."""
    following = ["--replicaof", "127.0.0.1", str(REDIS_PORT)]
    for port, more in ((REDIS_PORT, ["--protected-mode", "no"]), (REPLICA_PORT, following)):
        files = ["--dir", str(lab.directory), "--dbfilename", f"{port}.rdb", "--save", ""]
        command = ["redis-server", "--port", str(port), *files, "--repl-diskless-sync-delay", "0", *more]
        lab.serve_on(REDIS_HOST, command, log=lab.directory / f"redis-{port}.log")

    def has_replica() -> bool:
        role = ["redis-cli", "-p", str(REPLICA_PORT), "role"]
        return "connected" in lab.run(REDIS_HOST, role, checks=False).stdout.split()

    lab.wait_for(has_replica, what="the replica of Redis has all", within_s=PATIENCE_S)
