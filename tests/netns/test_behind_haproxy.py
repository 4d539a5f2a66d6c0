"""Two nodes behind a real HAProxy, configured by `haagent lb haproxy`: drained first, then stopped."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from haagent.lab import Lab
from haagent.lab.configuration import Wishes
from haagent.lab.plan import CLIENT
from tests.support.observe import PATIENCE_S, MakeLab, told, wait_whole

pytestmark = [pytest.mark.netns, pytest.mark.skipif(shutil.which("haproxy") is None, reason="no HAProxy on this host")]
pytest.importorskip("aiohttp")

APPLICATION = """
import http.server, sys
class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(sys.argv[1].encode())
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("", 8080), Shop)
print("serves", flush=True)
server.serve_forever()
"""
# A customer who keeps a cookie: one request every 10 ms, until told to end; then who answered how often, and how.
CUSTOMER = """
import http.client, json, select, sys, time
answers, cookie = {}, sys.argv[1]
while not select.select([sys.stdin], [], [], 0.01)[0]:
    shop = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
    shop.request("GET", "/", headers={"Cookie": "HANODE=" + cookie})
    try:
        answer = shop.getresponse()
        said = answer.read().decode() or "cut off"
    except http.client.RemoteDisconnected:
        said = "cut off"
    if said != "cut off" and answer.status != 200:
        said = str(answer.status)
    answers[said] = answers.get(said, 0) + 1
    shop.close()
print(json.dumps(answers))
"""
ASK = """
import http.client, sys
for _ in range(4):
    shop = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
    shop.request("GET", "/", headers={"Cookie": "HANODE=" + sys.argv[1]} if sys.argv[1] else {})
    answer = shop.getresponse()
    print(answer.read().decode() if answer.status == 200 else answer.status)
"""


@pytest.fixture
def lab(make_lab: MakeLab, tmp_path: Path) -> Lab:
    token = tmp_path / "http.token"
    token.write_text("a secret for whoever reads the metrics\n")
    token.chmod(0o600)
    extra = tmp_path / "http.yaml"
    extra.write_text(
        f'http: {{listen: "0.0.0.0:7266", token_file: {token}, agent_check: "0.0.0.0:7267"}}\n',
    )
    made = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(made)
    for name in ("A", "B"):
        application = made.start_on(name, ["python3", "-c", APPLICATION, name])
        assert application.stdout is not None
        assert application.stdout.readline() == b"serves\n"
    return made


def answered(lab: Lab, *, cookie: str = "") -> set[str]:
    return set(lab.run(CLIENT, ["python3", "-c", ASK, cookie]).stdout.split())


def test_a_node_is_drained_before_it_stops(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    words = ["haagent", "lb", "haproxy", "--app-port", "8080", "--bind", "127.0.0.1:8000"]
    file.write_text(lab.run("A", [*words, "--config", str(lab.directory / "haagent.yaml")]).stdout)
    lab.start_on(CLIENT, ["haproxy", "-db", "-f", str(file)])

    def is_answered(nodes: set[str], *, cookie: str = "") -> None:
        what = f"{' or '.join(sorted(nodes))} answers"
        lab.wait_for(lambda: answered(lab, cookie=cookie) == nodes, what=what, within_s=PATIENCE_S)

    is_answered({"A", "B"})
    customer = lab.start_on(CLIENT, ["python3", "-c", CUSTOMER, "A"])
    told(lab, "B", "standby", "A")
    is_answered({"B"})  # who is new
    assert answered(lab, cookie="A") == {"A"}, "who was there before stays while it is drained"
    lab.agents.signal("A", signal.SIGTERM)
    is_answered({"B"}, cookie="A")
    lab.wait_for(lambda: not lab.agents.tree("A").everybody, what="the agent of A ends", within_s=PATIENCE_S)
    lab.start("A")
    told(lab, "B", "unstandby", "A")
    is_answered({"A", "B"})
    is_answered({"A"}, cookie="A")
    out, error = customer.communicate(b"end\n", timeout=PATIENCE_S)
    answers = json.loads(out)
    # HAProxy shuts the sessions of a node that it marks down, so that nobody waits for one that is lost.
    assert answers.pop("cut off", 0) <= 1, "the one that was under way when the end of the agent was noticed"
    assert answers.keys() == {"A", "B"}, f"no other request has failed: {answers} {error.decode()}"
