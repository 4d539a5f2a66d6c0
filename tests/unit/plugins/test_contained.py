"""A plug-in that raises, hangs or talks nonsense fails its own step, and nobody hears more of it than a sentence."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn

import pytest

from haagent.activation.pipeline import GroupPipeline
from haagent.activation.share import Share
from haagent.activation.steer import SteerStep
from haagent.activation.steps import AddressStep
from haagent.agent.strays import Strays, is_ours
from haagent.backends import BackendError, Immediate
from haagent.core.events import AnyEvent, Dropped, TakeFailed, Taken
from haagent.kernel.links import Links
from haagent.plugins.contained import Broke, Contained, one_line
from tests.support.fakes import Cloud, CloudBackend, FakeHost, link, no_hooks, run_virtual
from tests.unit.activation.test_pipeline import ONE, TWO, VIP


@pytest.fixture(scope="module", autouse=True)
def _leave_no_garbage() -> Iterator[None]:
    """What hangs for ever is thrown away here, and not in the middle of another test."""
    yield
    gc.collect()


class Unsayable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def explode(*_: object) -> NoReturn:
    raise KeyError("RouteTables")


def leave(*_: object) -> NoReturn:
    sys.exit("wrong usage")


def interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def give_up(*_: object) -> NoReturn:
    raise asyncio.CancelledError


def mutter(*_: object) -> NoReturn:
    raise Unsayable


def half_a_letter(*_: object) -> NoReturn:
    raise ValueError("\ud800\x1b[2J\n" * 400)


WAYS: dict[Callable[..., NoReturn], str] = {
    explode: "KeyError: 'RouteTables'",
    leave: "SystemExit: wrong usage",
    interrupt: "KeyboardInterrupt",
    mutter: "tests.unit.plugins.test_contained.Unsayable: <exception str() failed>",
    half_a_letter: "ValueError: ??[2J ??[2J",
}


def in_a_coroutine(bad: Callable[..., NoReturn]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def work(*args: object) -> None:
        await asyncio.sleep(0)
        bad(*args)

    return work


async def hang(*_: object) -> NoReturn:
    while True:
        await asyncio.sleep(3600)


async def hang_on(*_: object) -> NoReturn:
    """Whatever anybody does."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


class Quick(CloudBackend, Immediate):
    """Immediate, and at once."""

    timeout_s: float = 1.0

    def take_now(self, ballot: object) -> None: ...
    def drop_now(self, ballot: object) -> None: ...
    def announce(self) -> None: ...
    def link_changed(self, link: object) -> None: ...


class Stage:
    def __init__(self, now: Callable[[], float], backend: Any = None, make: Any = None) -> None:
        self.now = now
        self.host = FakeHost("eth0")
        self.backend = backend if backend is not None else CloudBackend(Cloud())
        self.said: list[AnyEvent] = []
        self.notes: list[str] = []
        self.steer = SteerStep("cloud", make or (lambda: self.backend), self.notes.append)
        self.group = GroupPipeline(
            "web",
            steps=(AddressStep(Share({1: VIP}), self.host, now), self.steer),
            hooks=no_hooks(),
            post=self.said.append,
            note=lambda _kind, text: self.notes.append(text),
            now=now,
        )

    def take(self, ballot: Any = ONE) -> None:
        self.group.take(ballot, self.now() + 3600)

    def failed(self) -> str:
        """The one answer that there was."""
        (said,) = self.said
        assert isinstance(said, TakeFailed)
        assert self.host.addresses() == []
        return said.error


def play(story: Callable[[Stage], Awaitable[None]], backend: Any = None, make: Any = None) -> None:
    """A story in which nothing reaches the loop's own handler: that would end the agent."""

    async def told(now: Callable[[], float]) -> None:
        unexpected: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unexpected.append(what))
        stage = Stage(now, backend, make)
        await story(stage)
        await stage.group.close()
        await stage.steer.close()
        del stage
        gc.collect()
        await asyncio.sleep(0)
        assert unexpected == []

    run_virtual(told)


@pytest.mark.parametrize("bad", WAYS, ids=lambda bad: bad.__name__)
@pytest.mark.parametrize("step", ["take", "drop", "holds", "open", "close"])
def test_a_coroutine_of_a_backend_that_raises(step: str, bad: Callable[..., NoReturn]) -> None:
    async def story(stage: Stage) -> None:
        setattr(stage.backend, step, in_a_coroutine(bad))
        said = f"the backend broke in {step}: {WAYS[bad]}"
        if step == "open":
            with pytest.raises(Broke) as caught:
                await stage.steer.open()
            assert str(caught.value).startswith(said)
        stage.take()
        await asyncio.sleep(30)
        if step in ("take", "open"):
            assert stage.failed().startswith(f"cloud: {said}")
            return
        assert stage.said == [Taken(group="web", ballot=ONE)]
        stage.group.verify()
        await asyncio.sleep(1)
        stage.group.drop(ONE, "asked")
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)
        await asyncio.sleep(1)
        await stage.steer.close()
        assert any(said in note for note in stage.notes)

    play(story)


def test_a_backend_that_cancels_itself_has_failed() -> None:
    async def story(stage: Stage) -> None:
        stage.backend.take = in_a_coroutine(give_up)
        stage.take()
        await asyncio.sleep(30)
        assert stage.failed() == "cloud: the backend broke in take: it cancelled itself"

    play(story)


@pytest.mark.parametrize("bad", [*WAYS, give_up], ids=lambda bad: bad.__name__)
@pytest.mark.parametrize("step", ["take_now", "drop_now", "announce", "link_changed"])
def test_an_immediate_backend_that_raises(step: str, bad: Callable[..., NoReturn]) -> None:
    async def story(stage: Stage) -> None:
        setattr(stage.backend, step, bad)
        stage.take()
        if step == "take_now":
            assert stage.failed().startswith("cloud: the backend broke in take_now: ")
            return
        stage.group.reassert()
        stage.steer.link_changed(link("eth0", 1))
        stage.group.drop(ONE, "asked")
        assert stage.said == [Taken(group="web", ballot=ONE), Dropped(group="web", ballot=ONE)]
        assert stage.host.addresses() == []
        (note,) = stage.notes
        assert note.startswith(f"cloud: the backend broke in {step}: ")

    play(story, Quick(Cloud()))


@pytest.mark.parametrize("work", [hang, hang_on], ids=lambda work: work.__name__)
@pytest.mark.parametrize("step", ["take", "drop", "holds", "open", "close"])
def test_a_backend_that_hangs_keeps_nobody_for_ever(step: str, work: Callable[..., Any]) -> None:
    async def story(stage: Stage) -> None:
        setattr(stage.backend, step, work)
        if step == "open":
            with pytest.raises(BackendError, match="was not open within 5 s"):
                await stage.steer.open()
        stage.take()
        await asyncio.sleep(30)
        if step in ("take", "open"):
            assert stage.failed() == "cloud: no answer within 5 s"
            return
        stage.group.verify()
        stage.group.drop(ONE, "asked")
        assert stage.said[-1] == Dropped(group="web", ballot=ONE)
        stage.take(TWO)
        await asyncio.sleep(60)
        assert stage.said[-1] == Taken(group="web", ballot=TWO)

    play(story)


@pytest.mark.parametrize("answer", [None, "yes", 1, []])
def test_a_backend_that_answers_with_nonsense_is_not_believed(answer: object) -> None:
    async def story(stage: Stage) -> None:
        async def holds() -> object:
            return answer

        stage.backend.holds = holds
        stage.take()
        await asyncio.sleep(11)
        stage.group.verify()
        await asyncio.sleep(1)
        kind = type(answer).__name__
        (note,) = stage.notes
        assert note.endswith(f"the backend broke in holds: it answered with a {kind}, not True or False")
        assert stage.backend.cloud.log == ["take 1.A", "taken"]

    play(story)


def test_a_backend_whose_coroutine_is_none() -> None:
    async def story(stage: Stage) -> None:
        stage.backend.take = lambda ballot: None
        stage.take()
        await asyncio.sleep(1)
        assert "the backend broke in take: TypeError" in stage.failed()

    play(story)


@pytest.mark.parametrize("limit", [None, "5", -1, 0, 1e9, float("nan")])
def test_a_backend_with_a_strange_time_limit_cannot_be_used(limit: object) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(Broke, match="`timeout_s` is not a number of seconds"):
            await stage.steer.open()
        stage.take()
        await asyncio.sleep(1)
        assert "the backend broke in its making: ValueError: `timeout_s`" in stage.failed()

    strange = CloudBackend(Cloud())
    strange.timeout_s = limit  # type: ignore[assignment]
    play(story, strange)


@pytest.mark.parametrize("bad", [*WAYS, give_up], ids=lambda bad: bad.__name__)
def test_a_backend_that_cannot_be_made_fails_each_take(bad: Callable[..., NoReturn]) -> None:
    async def story(stage: Stage) -> None:
        stage.take()
        await asyncio.sleep(1)
        assert stage.failed().startswith("cloud: the backend broke in its making: ")

    play(story, make=bad)


def test_a_backend_that_could_not_be_opened_is_opened_by_the_next_take() -> None:
    async def story(stage: Stage) -> None:
        opened: list[int] = []

        async def open_() -> None:
            opened.append(1)
            if len(opened) < 2:
                raise BackendError("no credentials yet")

        stage.backend.open = open_
        with pytest.raises(BackendError):
            await stage.steer.open()
        for ballot in (ONE, TWO):
            stage.take(ballot)
            await asyncio.sleep(1)
        assert stage.said == [Taken(group="web", ballot=ONE), Taken(group="web", ballot=TWO)]
        assert len(opened) == 2

    play(story)


def test_what_a_contract_allows_stays_what_it_is() -> None:
    async def story(now: Callable[[], float]) -> None:
        contained = Contained("the backend", expected=(BackendError,))

        async def refuse() -> None:
            raise BackendError("no")

        with pytest.raises(BackendError):
            await contained.ask("take", refuse)

    run_virtual(story)


def test_a_line_of_history_is_one_printable_line() -> None:
    assert one_line(" a\n\tb\x00c \udcff ") == "a b?c ?"
    assert one_line(None) == "None"


def test_what_passed_through_our_code_is_ours_and_what_did_not_is_not() -> None:
    def of(work: Callable[[], object]) -> BaseException:
        try:
            work()
        except BaseException as error:
            return error
        raise AssertionError

    assert not is_ours(of(explode))
    assert not is_ours(of(lambda: Contained("x").call("y", explode)))
    assert is_ours(of(exploding_links))
    assert not is_ours(KeyError("no traceback"))


def exploding_links() -> None:
    """Who is told by the kernel's messages has to look after itself."""
    links = Links()
    links.subscribe("eth0", explode)
    links.learn(link("eth0", 1))


def test_sys_exit_in_a_timer_or_a_task_of_somebody_does_not_end_the_agent() -> None:
    strays = Strays()

    async def exiting() -> None:
        sys.exit(3)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        loop.call_soon(sys.exit, 4)
        keep = loop.create_task(exiting())
        await asyncio.sleep(0.01)
        assert isinstance(keep.exception(), SystemExit)
        return 7

    assert strays.run(main()) == 7
    assert strays.counters() == {"stray_exceptions": 2}


def test_an_agent_that_wants_to_end_ends() -> None:
    async def main() -> int:
        sys.exit(3)

    with pytest.raises(SystemExit):
        Strays().run(main())
