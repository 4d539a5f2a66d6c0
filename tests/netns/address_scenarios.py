"""Stories of the address room on a real kernel. Each is run by `test_address.py` in a network namespace of its own.

`python -m tests.netns.address_scenarios NAME` inside `unshare -n`: the namespace, and all that was made in it, ends
with this process. `eth0` is the interface of this host, `peer0` the other end of its cable.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from haagent.core.events import AddressFound, Dropped, HealthChanged, TakeFailed, Taken
from haagent.core.messages import Ballot
from haagent.kernel.facts import TAG
from haagent.kernel.release import release_all
from tests.netns.address_stage import ONE, TWO, V4, V6, Stage, announcements, cable, group, ip, mac, now, seen, until


async def take_and_drop() -> None:
    async with Stage() as stage:
        wire = stage.capture()
        stage.take(0.35)
        assert stage.said[-1] == Taken(group="web", ballot=ONE)
        for address in (V4, V6):
            (there,) = seen(address)
            assert there.tag == TAG, "the tag is not visible: is this kernel older than 5.18?"
            assert re.search(r"valid_lft [12]sec", ip("addr", "show", "dev", "eth0", "to", address))
        assert "eth0:ha" in ip("-4", "addr", "show", "dev", "eth0")
        v6 = ip("-6", "addr", "show", "dev", "eth0", "to", V6)
        assert "deprecated" in v6
        assert "tentative" not in v6
        assert "noprefixroute" in v6  # the host has an address of its own in that subnet
        told = {("request", mac("eth0"), V4), ("reply", mac("eth0"), V4), ("advertisement", mac("eth0"), V6)}
        heard = set(announcements(wire))
        assert heard == told, heard
        stage.activation.drop("web", ONE, "asked")
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)
        assert seen(V4) == seen(V6) == []
        assert seen("10.20.1.10"), "the host's own address stays"
        assert "fd00:20::/64" in ip("-6", "route"), "the host's own route stays"
        print("steps, us:", stage.activation.groups()["web"]["steps"])


async def host_prefixes() -> None:
    """A bare /32 and /128, and an IPv6 prefix that the host itself is not in."""
    async with Stage(f"{V4}/32", f"{V6}/128", "fd00:99::1/64") as stage:
        stage.take()
        assert [one.prefix for one in seen(V4) + seen(V6)] == [32, 128]
        assert "fd00:99::/64" in ip("-6", "route"), "nobody else brings this route: it comes with the address"


async def lifetimes() -> None:
    """Renewed while held; the kernel alone lets go when nobody does."""
    async with Stage() as stage:
        stage.take(0.35)
        began = now()
        while now() - began < 4:
            await asyncio.sleep(0.1)
            stage.activation.renew("web", now() + 0.35)
            assert seen(V4)
            assert seen(V6)
        assert stage.counted("restored") == 0
        await until(lambda: stage.said[-1] == Dropped(group="web", ballot=ONE), "let go by itself")
        assert seen(V4) == []
        assert any(note.startswith("lapsed") for note in stage.notes)
        stage.take(0.35)
        time.sleep(4)  # the whole process hangs: only the kernel is left
        assert seen(V4) == seen(V6) == []
    print("an address that is not renewed goes by itself")


async def restored() -> None:
    async with Stage() as stage:
        stage.take()
        wire = stage.capture()
        took = []
        for count, address in enumerate((f"{V4}/24", f"{V6}/64", f"{V4}/24"), 1):
            ip("addr", "del", address, "dev", "eth0")
            took.append(await until(lambda count=count: stage.counted("restored") == count, "restored"))
            assert seen(address.split("/")[0])
        ip("-4", "addr", "flush", "dev", "eth0")
        took.append(await until(lambda: stage.counted("restored") == 4, "restored after a flush"))
        assert stage.said == [Taken(group="web", ballot=ONE)], "no failover"
        assert len(announcements(wire)) >= 12, "announced again each time"
        assert sum(note.startswith("restored") for note in stage.notes) == 4
        assert min(took) < 100
        print("restored after, ms:", ", ".join(f"{ms:.2f}" for ms in took))


async def foreign_add() -> None:
    async with Stage() as stage:
        took = []
        for count, words in enumerate((f"{V4}/24", f"{V4}/32", f"{V6}/64"), 1):
            ip("addr", "add", words, "dev", "peer0" if count == 2 else "eth0")
            took.append(await until(lambda count=count: stage.counted("removed") == count, "removed"))
            assert seen(words.split("/")[0]) == []
        assert stage.said == []
        print("removed after, ms:", ", ".join(f"{ms:.2f}" for ms in took))


async def fight() -> None:
    """Somebody removes it as fast as they can: we stay in, without burning the machine or the history."""
    async with Stage(f"{V4}/24") as stage:
        stage.take()
        began, removals = time.perf_counter(), 0
        while time.perf_counter() - began < 3:
            if seen(V4):
                ip("addr", "del", f"{V4}/24", "dev", "eth0")
                removals += 1
            await asyncio.sleep(0.001)
        await until(lambda: bool(seen(V4)), "back after the fight")
        assert stage.counted("restored") < 30
        assert len([note for note in stage.notes if note.startswith("restored")]) < 10
        print(f"{removals} removals in 3 s, {stage.counted('restored')} repairs, {len(stage.notes)} lines")


async def promoted() -> None:
    """Our address came first and the host's own is a secondary of it: ours goes, the host's stays."""
    ip("addr", "flush", "dev", "eth0")
    async with Stage(f"{V4}/24", "10.20.1.101/24") as stage:
        stage.take()
        ip("addr", "add", "10.20.1.10/24", "dev", "eth0")
        assert "secondary" in ip("-4", "addr", "show", "dev", "eth0", "to", "10.20.1.10")
        stage.activation.drop("web", ONE, "asked")
        assert seen("10.20.1.10")
        assert seen(V4) == seen("10.20.1.101") == []


async def interface_deleted() -> None:
    async with Stage() as stage:
        stage.take()
        ip("link", "del", "eth0")
        gone = HealthChanged(group="web", ok=False, why="eth0 does not exist")
        await until(lambda: gone in stage.said, "the core is told")
        stage.activation.drop("web", ONE, "unfit")
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)
        stage.activation.take("web", TWO, now() + 600)
        assert stage.said[-1] == TakeFailed(group="web", ballot=TWO, error="address: eth0 does not exist")
        cable()
        stage.activation.take("web", TWO, now() + 600)  # before the monitor has told of the new one
        assert stage.said[-1] == Taken(group="web", ballot=TWO)
        wire = stage.capture()
        await until(lambda: bool(announcements(wire)), "announced on the new interface")
        fit = HealthChanged(group="web", ok=True, why="")
        await until(lambda: fit in stage.said, "fit again")


async def interface_replaced_while_held() -> None:
    """A driver reload: deleted and made anew faster than the core reacts. The addresses follow."""
    async with Stage() as stage:
        stage.take()
        ip("link", "del", "eth0")
        cable()
        await until(lambda: bool(seen(V4) and seen(V6)), "put back on the new interface")


async def new_hardware_address() -> None:
    async with Stage() as stage:
        stage.take()
        wire = stage.capture()
        ip("link", "set", "eth0", "address", "02:00:00:00:00:77")
        heard: set[tuple[str, str, str]] = set()

        def is_told() -> bool:
            heard.update(announcements(wire))
            return ("reply", "02:00:00:00:00:77", V4) in heard

        await until(is_told, "the new hardware address is announced")


async def carrier() -> None:
    async with Stage() as stage:
        ip("link", "set", "peer0", "down")
        lost = HealthChanged(group="web", ok=False, why="eth0 has no carrier")
        took = await until(lambda: lost in stage.said, "carrier lost")
        ip("link", "set", "peer0", "up")
        back = await until(lambda: HealthChanged(group="web", ok=True, why="") in stage.said, "carrier is back")
        assert back > 900, "a second of good link comes first"
        print(f"carrier lost known after {took:.2f} ms, back after {back:.0f} ms")


async def lost_messages() -> None:
    """The monitor's queue overflows: everything is listed again, and nothing stays wrong."""
    async with Stage() as stage:
        stage.take()
        host: Any = stage.activation._host
        listed, list_links = [], host._list_links

        def list_again() -> Any:
            listed.append(now())
            return list_links()

        host._list_links = list_again
        host._monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        batch = "".join(f"addr add 10.77.{n // 250}.{n % 250 + 1}/32 dev eth0\n" for n in range(500))
        batch += f"addr del {V4}/24 dev eth0\n"
        subprocess.run(["ip", "-batch", "-"], input=batch, check=True, text=True)
        await until(lambda: stage.counted("restored") == 1, "restored")
        assert listed


async def leftovers() -> None:
    kernel_left = Stage()
    await kernel_left.activation.open()
    kernel_left.take()
    ip("addr", "add", "10.20.1.55/24", "dev", "eth0")  # somebody's own
    async with Stage(adopt=True) as stage:
        assert stage.said == [AddressFound(group="web")]
        assert seen(V4)
        kernel_left.activation._host.close()  # type: ignore[attr-defined]  # its agent is dead
        stage.take()
        assert seen(V4)
    kernel_left.activation._host.open()  # type: ignore[attr-defined]
    kernel_left.activation._host.add(kernel_left.activation._vips(), 600)  # type: ignore[attr-defined]
    async with Stage(f"{V4}/24") as stage:
        assert seen(V4) == seen(V6) == []  # the second by its tag
        assert len(stage.notes) == 2
        assert seen("10.20.1.55")


async def released() -> None:
    """`haagent release`: by configuration and by tag, without the daemon, twice."""
    left = Stage()
    await left.activation.open()
    left.take()
    ip("addr", "add", f"{V4}/32", "dev", "peer0")
    said: list[str] = []
    began = time.perf_counter()
    assert release_all(group(f"{V4}/24").addresses, said.append)
    print(f"release: {1000 * (time.perf_counter() - began):.1f} ms")
    assert sorted(said) == [
        f"removed {V4}/24 from eth0",
        f"removed {V4}/32 from peer0",
        f"removed {V6}/64 from eth0",
    ]
    said.clear()
    assert release_all(group().addresses, said.append)
    assert said == ["nothing to remove"]
    assert seen("10.20.1.10")


async def how_fast() -> None:
    """Figures, not limits. Hot: one after another. Cold: after 20 ms of doing nothing."""
    for addresses in ((f"{V4}/24",), (f"{V6}/64",), (f"{V4}/24", f"{V6}/64")):
        for name, pause_s, rounds in (("hot", 0.0, 100), ("cold", 0.02, 15)):
            took: list[float] = []
            let_go: list[float] = []
            async with Stage(*addresses) as stage:
                for round_ in range(rounds):
                    await asyncio.sleep(pause_s)
                    began = time.perf_counter()
                    stage.activation.take("web", Ballot(round_, "A"), now() + 60)
                    took.append(1e6 * (time.perf_counter() - began))
                    await asyncio.sleep(pause_s)
                    began = time.perf_counter()
                    stage.activation.drop("web", Ballot(round_, "A"), "asked")
                    let_go.append(1e6 * (time.perf_counter() - began))
            print(f"{' '.join(addresses)} {name}: take {_figures(took)}, drop {_figures(let_go)} (us, p50/p99)")


def _figures(values: list[float]) -> str:
    values.sort()
    return f"{values[len(values) // 2]:.0f}/{values[int(len(values) * 0.99)]:.0f}"


STORIES: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    story.__name__: story
    for story in (
        take_and_drop,
        host_prefixes,
        lifetimes,
        restored,
        foreign_add,
        fight,
        promoted,
        interface_deleted,
        interface_replaced_while_held,
        new_hardware_address,
        carrier,
        lost_messages,
        leftovers,
        released,
        how_fast,
    )
}


def main(name: str) -> None:
    cable()
    ip("addr", "add", "10.20.1.10/24", "dev", "eth0")
    ip("addr", "add", "fd00:20::10/64", "dev", "eth0", "nodad")
    asyncio.run(STORIES[name]())


if __name__ == "__main__":
    main(sys.argv[1])
