"""The unit and the agent in it: does it run, will it run after a reboot, and what does it warn of itself?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from haagent import __version__
from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, info, ok, output_of, warning

UNIT = "haagent.service"
PROPERTIES = "LoadState,ActiveState,SubState,Result,UnitFileState,NRestarts,NeedDaemonReload"


async def unit(subject: Subject) -> AsyncIterator[Finding]:
    if not subject.is_usual_place or subject.read("/proc/1/comm") != "systemd":
        return
    output = await output_of("systemctl", "show", UNIT, f"--property={PROPERTIES}")
    lines = (output or b"").decode(errors="replace").splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    if facts.get("LoadState") != "loaded":
        if facts:
            yield info(f"there is no {UNIT}", why="Nothing starts the agent after a boot.", mend="install the package")
        return
    for finding in _judge(subject, facts):
        yield finding


def _judge(subject: Subject, facts: dict[str, str]) -> Iterator[Finding]:
    logs = f"journalctl -u {UNIT} -n 50"
    state = facts.get("ActiveState", "")
    is_failing = state == "failed" or (state == "activating" and facts.get("SubState") == "auto-restart")
    if is_failing:
        yield error(f"{UNIT} does not start: {facts.get('Result')}", why="This node protects nothing.", mend=logs)
    if facts.get("UnitFileState") not in ("enabled", "enabled-runtime", "static", "generated"):
        text = f"{UNIT} is {facts.get('UnitFileState') or 'not enabled'}"
        yield warning(text, why="After a boot this node would not come back.", mend="systemctl enable haagent")
    if facts.get("NeedDaemonReload") == "yes":
        why = "What systemd runs is not what the file says."
        yield info(f"{UNIT} has changed on disk", why=why, mend="systemctl daemon-reload && systemctl restart haagent")
    restarts = facts.get("NRestarts", "0")
    if restarts not in ("0", "") and not is_failing:
        text = f"{UNIT} was restarted {restarts} times by systemd since it was started by hand"
        yield info(text, why="Each of them was a death of the agent, or of its guardian.", mend=logs)
    if state == "inactive" and subject.agent is not None:
        text = f"an agent runs here that {UNIT} did not start"
        yield warning(text, why="Nobody starts it again.", mend="stop it, and `systemctl start haagent`")
    if state == "active" and not is_failing:
        yield ok(f"{UNIT} is active")


def agent(subject: Subject) -> Iterator[Finding]:
    if subject.agent_fault:
        yield error(
            f"an agent runs here and cannot be asked: {subject.agent_fault}",
            why="An agent that does not answer may be frozen.",
            mend="run this as root; systemctl status haagent",
        )
        return
    if subject.agent is None:
        yield info("no agent runs here", why="Nothing is protected by this host now.", mend="systemctl start haagent")
        return
    if subject.agent["version"] != __version__:
        yield warning(
            f"the running agent is release {subject.agent['version']}, and {__version__} is installed",
            why="The new one is not in use.",
            mend="systemctl restart haagent",
        )
    for text in subject.agent.get("warnings", ()):
        yield warning(text.rstrip("."), why="The agent itself says so.", mend="haagent status; haagent events")
    yield ok(f"the agent runs, as {subject.agent['node']}")
