"""The configuration that `haagent lb haproxy` prints: whole, and taken by HAProxy itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
cluster: shop
key_file: /etc/haagent/cluster.key
nodes: {A: {address: 10.20.1.10}, B: {address: 10.20.1.11}, W: {address: 10.20.1.12, witness: true}}
heartbeat: {interfaces: [eth0]}
groups: {web: {addresses: [10.20.1.100/24]}}
"""
HTTP = 'http: {listen: "0.0.0.0:7266", token_file: /etc/haagent/http.token, agent_check: "0.0.0.0:7267"}\n'


def printed(tmp_path: Path, http: str, *words: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "haagent.yaml"
    file.write_text(FILE + http)
    command = [sys.executable, "-c", "import sys; from haagent.cli import main; sys.exit(main())", "lb", "haproxy"]
    command += ["--config", str(file), "--app-port", "8080", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_each_node_that_can_serve_is_a_server_with_a_cookie_of_its_own(tmp_path: Path) -> None:
    text = printed(tmp_path, HTTP).stdout
    assert "    server A 10.20.1.10:8080 cookie A\n" in text
    assert "    server B 10.20.1.11:8080 cookie B\n" in text
    assert "server W" not in text, "a witness serves nobody"
    assert "    cookie HANODE insert indirect nocache httponly\n" in text
    assert "check port 7266 inter 500ms fastinter 100ms fall 2 rise 2 agent-check agent-port 7267" in text
    assert json.loads(printed(tmp_path, HTTP, "--json").stdout)["haproxy"] == text


def test_without_a_cookie_and_without_an_agent_check(tmp_path: Path) -> None:
    text = printed(tmp_path, HTTP.replace(', agent_check: "0.0.0.0:7267"', ""), "--cookie", "").stdout
    assert "cookie" not in text
    assert "agent-check agent-port" not in text
    assert "# Without `http.agent_check` a node in standby goes on getting new clients." in text


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ("", "`http:` is not configured"),
        ("http: {}\n", "`http.listen` is 127.0.0.1:7266, where no other host can ask"),
        (HTTP.replace('check: "0.0.0.0', 'check: "127.0.0.1'), "`http.agent_check` is 127.0.0.1:7267"),
    ],
)
def test_what_haproxy_could_not_ask_is_refused_with_what_to_write(tmp_path: Path, http: str, said: str) -> None:
    done = printed(tmp_path, http)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert 'agent_check: "0.0.0.0:7267"' in done.stderr


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no HAProxy on this host")
@pytest.mark.parametrize("words", [(), ("--cookie", "")])
def test_haproxy_takes_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(printed(tmp_path, HTTP, "--bind", "127.0.0.1:80", *words).stdout)
    done = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
