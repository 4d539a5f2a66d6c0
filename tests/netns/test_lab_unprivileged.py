"""The same lab as a user without any privilege, where the kernel lets users have namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

NOBODY = 65534
GATE = """
import asyncio, time
from haagent.gate import Gate
async def main():
    gate = Gate(note=print, now=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    gate.start([bytes([10, 20, 1, 100])])
    assert gate.state([bytes([10, 20, 1, 100])]) == ("shut", ""), gate.why
    gate.close()
asyncio.run(main())
"""
SCRIPT = f"""
import sys, time
from haagent.lab import Lab
with Lab.create(name="plain", nodes=2, command=None, dies_with_us=True) as lab:
    assert lab.state().root is not None
    for address in ("10.20.1.100/24", "fd00:20::100/64"):
        lab.run("A", ["ip", "address", "add", address, "dev", "eth0", "nodad"])
    with lab.probe() as probe:
        probe.wait_answer(by="A")
        start_s = time.monotonic()
        lab.faults.cut("A", "client", one_way=True)
        time.sleep(0.1)
        lab.faults.heal()
        probe.wait_answer(by="A")
        lab.faults.lose("A", 50)
        lab.faults.lose("A", 0)
        lab.faults.link("A", "down")
        lab.faults.link("A", "up")
        lab.run("B", [sys.executable, "-c", {GATE!r}])
        lab.faults.crash("B")
    print(*(outage.worst_ms for outage in probe.outages(start_s=start_s)), lab.directory)
"""


def _python() -> list[str]:
    """As nobody. This interpreter may lie in a home directory closed to others: then the system's."""
    places = ":".join(path for path in sys.path if path)
    for python in (sys.executable, "/usr/bin/python3"):
        words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", f"PYTHONPATH={places}"]
        words += ["PYTHONDONTWRITEBYTECODE=1", python]
        check = "import sys, msgspec, haagent.lab; print(sys.version_info[:2])"
        done = subprocess.run([*words, "-c", check], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == str(sys.version_info[:2]):
            return words
    pytest.skip("user nobody cannot run a Python that has haagent")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user; as a plain user every other test shows the same")
def test_without_root(tmp_path: Path) -> None:
    home = Path(f"/tmp/haagent-lab-test-{os.getpid()}")
    probe = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "unshare", "-U", "-r", "-n", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this kernel does not let users have namespaces")
    python = _python()
    environment = {**os.environ, "HAAGENT_LAB_HOME": str(home)}
    done = subprocess.run(
        [*python, "-X", "dev", "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    worst4, worst6, directory = done.stdout.split()
    assert float(worst4) > 80
    assert float(worst6) > 80
    assert not Path(directory).exists()
    assert not home.exists()
