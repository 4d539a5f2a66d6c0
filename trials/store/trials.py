"""The trials: each tells what it measured, in a row of figures, and what was not as it must be."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import msgspec

from tests.netns.ear import listening_to
from trials.store.client import key_of, notes
from trials.store.stage import Stage, stage

CONNECTIONS = 10
INTERVAL_S = 0.1
MANY, MILLION = 100_000, 1_000_000
READY_S, LATE_S = 5.0, 0.05  # the promise


class Row(msgspec.Struct):
    what: str
    figures: str
    complaint: str = ""


Tell = Callable[[str], None]


def host_lost(replication: str, runs: int, tell: Tell) -> Row:
    """The host of the applications and of their store is lost in the middle of their writes."""
    answered, lost, ages_ms, worst = 0, 0, [0.0], 0
    with stage(f"store-{replication}", replication=replication) as made:
        for run in range(runs):
            mine = "AB"[run % 2]
            other = "BA"[run % 2]
            with made.writing(mine, CONNECTIONS) as path:
                until = time.monotonic() + random.Random(run).uniform(0.5, 1.0)
                made.lab.wait_for(lambda path=path: path.stat().st_size > 5000, what="sessions are written")  # type: ignore[misc]
                time.sleep(max(0.0, until - time.monotonic()))
                made.lab.faults.crash(mine)
            has, missing, age_ms = missing_of(path, made.dump(other))
            answered, lost, worst = answered + has, lost + missing, max(worst, missing)
            ages_ms.append(age_ms)
            tell(f"{replication}, run {run + 1}: {has:,} answered, {missing} lost, of the last {age_ms:.1f} ms")
            made.lab.start(mine)
            made.wait_replicated("A", "B")
            made.ask(other, "FLUSHALL")
    figures = f"{runs} runs, {answered:,} writes answered, {lost} lost"
    if replication == "async":
        figures += f"; at most {worst} in a run, of the last {max(ages_ms):.1f} ms (median {median(ages_ms[1:]):.1f})"
    complaint = "a write that was answered is lost" if lost and replication == "sync" else ""
    return Row(f"`{replication}`: the host is lost under load", figures, complaint)


def missing_of(path: Path, found: dict[str, list[object]]) -> tuple[int, int, float]:
    """How many were answered, how many of these are not there, and how long before the last answer the oldest was."""
    answers = list(notes(path))
    there = {key: int(str(value).strip()) for key, (value, _) in found.items()}
    missing = [at for connection, number, at in answers if there.get(key_of(connection, number), 0) < number]
    last = max(at for _, _, at in answers)
    return len(answers), len(missing), (last - min(missing, default=last)) / 1e6


def partition(runs: int, tell: Tell) -> Row:
    """Both sides go on; on each some sessions end for which the other side goes on writing."""
    writes = stands = ended = 0
    differ: list[str] = []
    with stage("store-cut") as made:
        for run in range(runs):
            made.client("A", "fill", "1000", "100")
            here, there = (
                [key_of(c, n) for c in range(4) for n in range(3)],
                [key_of(c, n) for c in range(4, 8) for n in range(3)],
            )
            with ExitStack() as stack:
                paths = [stack.enter_context(made.writing(node, CONNECTIONS)) for node in "AB"]
                made.lab.wait_for(
                    lambda paths=paths: all(path.stat().st_size > 5000 for path in paths), what="both write"
                )  # type: ignore[misc]
                made.lab.faults.cut("A", "B")
                time.sleep(1.0)
            made.ask("A", *(f"DEL {key}" for key in here))
            made.ask("B", *(f"DEL {key}" for key in there))
            made.ask("A", *(f"SETEX {key} 3600 late" for key in there))  # a session that it does not know to be over
            made.ask("B", *(f"SETEX {key} 3600 late" for key in here))
            made.lab.faults.heal("A", "B")
            made.wait_replicated("A", "B")
            one, other = made.dump("A"), made.dump("B")
            differ += [key for key in {*one, *other} if one.get(key) != other.get(key)]
            over = [key for key in (*here, *there) if key not in one and key not in other]
            ended, stands = ended + len(here) + len(there), stands + len(over)
            writes += sum(len(list(notes(path))) for path in paths)
            tell(
                f"cut, run {run + 1}: {len(one):,} sessions on A, {len(differ)} differ, {len(over)} of "
                f"{len(here) + len(there)} logouts stand"
            )
            made.ask("A", "FLUSHALL")
            made.wait_replicated("A", "B")
    complaint = f"{len(differ)} keys differ, such as {differ[0]}" if differ else ""
    if stands < ended:
        complaint = complaint or f"{ended - stands} logouts were undone"
    figures = (
        f"{runs} runs, {writes:,} writes answered on two sides, {len(differ)} keys differ after the heal, "
        f"{stands} of {ended} logouts stand"
    )
    return Row("cut from each other under load, and healed", figures, complaint)


def rejoin(runs: int, tell: Tell) -> Row:
    """A node comes back to another that has many sessions."""
    took_s, late_s, bytes_used = [], [], 0
    with stage("store-join") as made:
        made.client("B", "fill", str(MANY), "1024")
        made.wait_replicated("A", "B")
        for run in range(runs):
            made.lab.faults.crash("A")
            with listening_to(made.lab, "B") as ear:
                made.lab.wait_for(lambda: not made.facts("B")["peers"][0]["linked"], what="B has noticed", within_s=30)
                ear.longest_pause_s()
                began = time.monotonic()
                made.lab.start("A")
                made.lab.wait_for(lambda: made.facts("A").get("ready"), what="A is ready", within_s=60)
                took_s.append(time.monotonic() - began)
                late_s.append(ear.longest_pause_s() - INTERVAL_S)
            tell(
                f"join, run {run + 1}: ready after {took_s[-1]:.2f} s, a heartbeat of B {1000 * late_s[-1]:.0f} ms late"
            )
        bytes_used = _resident(made, "B")
    complaint = ""
    if median(took_s) > READY_S or median(late_s) > LATE_S:
        complaint = f"more than {READY_S:g} s, or a heartbeat more than {1000 * LATE_S:.0f} ms late"
    figures = (
        f"{runs} runs: ready {max(took_s):.2f} s after its start at most (median {median(took_s):.2f}); "
        f"the other's heartbeats at most {1000 * max(late_s):.0f} ms late (median {1000 * median(late_s):.0f}); "
        f"its store has {bytes_used / 2**20:.0f} MiB"
    )
    return Row(f"a node comes back to {MANY:,} sessions of 1 KiB", figures, complaint)


def million(tell: Tell) -> Row:
    """The two slow commands."""
    with stage("store-million", replication="async") as made:
        made.client("A", "fill", str(MILLION), "100")
        made.lab.wait_for(lambda: made.ask("B", "DBSIZE") == [str(MILLION)], what="B has them", within_s=300)
        bytes_used, late = _resident(made, "A"), []
        for command in ("KEYS *ff", "FLUSHALL"):
            with listening_to(made.lab, "A") as ear:
                began = time.monotonic()
                answer = made.ask("A", command)
                took_s = time.monotonic() - began
                time.sleep(1.0)
                late.append((command, took_s, ear.longest_pause_s() - INTERVAL_S))
            tell(f"{command}: {answer[0]}, {took_s:.2f} s, a heartbeat {1000 * late[-1][2]:.0f} ms late")
    words = "; ".join(
        f"`{command}` {took_s:.1f} s, a heartbeat at most {1000 * each:.0f} ms late" for command, took_s, each in late
    )
    complaint = "a heartbeat was late" if any(each > LATE_S for _, _, each in late) else ""
    return Row(f"{MILLION:,} sessions of 100 bytes", f"a store of {bytes_used / 2**20:.0f} MiB; {words}", complaint)


def _resident(made: Stage, node: str) -> int:
    pid = made.lab.agents.status(node)["pids"]["store"]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
