"""Two real agents asked over HTTP, as a load balancer and as Prometheus ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from haagent.lab import Lab
from haagent.lab.configuration import Wishes
from tests.support.observe import MakeLab, holder, other, refused, told, wait_whole

pytestmark = pytest.mark.netns
pytest.importorskip("aiohttp")

ASK = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen("http://127.0.0.1:7266" + sys.argv[1], timeout=10)
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.status, answer.read().decode())
"""
BUSY = "import socket, time; s = socket.create_server(('127.0.0.1', 8080)); print('taken', flush=True); time.sleep(60)"


def asked(lab: Lab, node: str, path: str) -> tuple[int, str]:
    status, _, text = lab.run(node, ["python3", "-c", ASK, path]).stdout.partition(" ")
    return int(status), text


def metric(lab: Lab, node: str, name: str) -> float:
    families = {one.name: one for one in text_string_to_metric_families(asked(lab, node, "/metrics")[1])}
    return families[name].samples[0].value


def test_a_load_balancer_and_prometheus(make_lab: MakeLab, tmp_path: Path) -> None:
    extra = tmp_path / "http.yaml"
    extra.write_text('http: {listen: "127.0.0.1:7266"}\n')
    lab = make_lab(nodes=2, wishes=Wishes(extra=str(extra)))
    wait_whole(lab)
    first = holder(lab)
    for active, passive in ((first, other(lab, first)), (other(lab, first), first)):
        if active != first:
            told(lab, "A", "failover", "web", "--to", active)
        assert asked(lab, active, "/groups/web/active")[0] == 200
        lab.wait_for(
            lambda: f"web is active on {active}" in asked(lab, passive, "/groups/web/active")[1],  # noqa: B023
            what="the other has heard who is",
        )
        assert asked(lab, passive, "/groups/web/active")[0] == 503
        assert [asked(lab, node, "/health")[0] for node in (active, passive)] == [200, 200]
        for node in (active, passive):  # what was collected a moment before the move is told for a second
            lab.wait_for(
                lambda: metric(lab, node, "haagent_group_active") == (node == active),  # noqa: B023
                what=f"the metrics of {node} follow",
            )
            assert metric(lab, node, "haagent_members_online") == 2
    assert asked(lab, "A", "/groups/none/active")[0] == 404

    path = lab.directory / "haagent.yaml"
    good = path.read_text()
    path.write_text(good.replace("127.0.0.1:7266", "10.99.0.1:7266"))
    assert refused(lab, "A", "reload")[0] == 2  # off the loopback, and no token
    path.write_text(good.replace("127.0.0.1:7266", "127.0.0.1:8080"))
    busy = lab.start_on("A", ["python3", "-c", BUSY])
    assert busy.stdout is not None
    assert busy.stdout.readline() == b"taken\n"
    assert "address already in use" in refused(lab, "A", "reload")[1]
    busy.kill()
    busy.wait(10)
    assert asked(lab, "A", "/health")[0] == 200
    assert told(lab, "A", "reload")["text"].endswith("is in force")
