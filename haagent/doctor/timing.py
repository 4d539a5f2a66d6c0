"""Is a process of this host woken in time? A lease is lost when its holder is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from haagent.doctor.context import Subject
from haagent.doctor.finding import Finding, error, ok, output_of, warning
from haagent.status.jitter import affordable_s, is_risky

MEASURE_S = 1.0
STEP_S = 0.01
AFTER_S = 0.6  # first the other checks have what they need of the processor
# A process of its own, so that what the other checks do in this one is not measured along. It sleeps by the same timer
# of the kernel as the agent's timerfd.
_PROGRAM = f"""
import time
begin = time.monotonic()
late = []
for number in range(1, {int(MEASURE_S / STEP_S)}):
    due = begin + number * {STEP_S}
    time.sleep(max(0.0, due - time.monotonic()))
    late.append(time.monotonic() - due)
print(max(late))
"""


async def jitter(subject: Subject) -> AsyncIterator[Finding]:
    await asyncio.sleep(AFTER_S)
    measured_s = float(await output_of(sys.executable, "-I", "-S", "-c", _PROGRAM) or 0.0)
    worst_s = max(measured_s, ((subject.agent or {}).get("jitter_ms") or 0.0) / 1000)
    if subject.config is None:
        yield ok(f"woken {1000 * worst_s:.1f} ms late at worst, in one second")
        return
    heartbeat = subject.config.heartbeat
    spare_s = affordable_s(heartbeat)
    text = f"woken {1000 * worst_s:.1f} ms late at worst"
    longer = f"give this host more processor time, or write a longer lease (`lease: {10 * int(200 * worst_s + 1)}ms`)"
    why = f"A holder that is late by {1000 * spare_s:.0f} ms loses its lease"
    if worst_s >= spare_s:
        yield error(text, why=f"{why}.", mend=longer)
    elif is_risky(worst_s, heartbeat):
        yield warning(text, why=f"{why}; a busy hour is worse than this second.", mend=longer)
    else:
        yield ok(text)
