"""Checks and who runs them: asked in time, bounded, believed only when their word counts, and unable to do harm."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

import pytest

from haagent.activation.health import Health
from haagent.checks import Report, Verdict
from haagent.config import CheckConfig
from haagent.core.event_kinds import Kind
from haagent.core.events import AnyEvent, HealthChanged
from haagent.kernel.links import Links
from tests.support.fakes import link, run_virtual
from tests.unit.plugins.test_contained import WAYS, give_up, hang, hang_on, in_a_coroutine

DOWN = Verdict(is_fit=False, why="it answers 503")


@pytest.fixture(scope="module", autouse=True)
def _leave_no_garbage() -> Iterator[None]:
    """What hangs for ever is thrown away here, and not in the middle of another test."""
    yield
    gc.collect()


class Service:
    """A check that is asked, and what it is to say."""

    def __init__(self) -> None:
        self.says: Any = Verdict(is_fit=True)
        self.asked: list[float] = []

    async def probe(self) -> Any:
        self.asked.append(round(asyncio.get_running_loop().time() - 1000, 3))
        await asyncio.sleep(0.01)
        return self.says


class Watch:
    def __init__(self, watch: Callable[[Report], Coroutine[Any, Any, None]]) -> None:
        self.watch = watch


class Stage:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.links = Links()
        self.said: list[AnyEvent] = []
        self.notes: list[tuple[Kind, str]] = []
        self.health = Health("web", self.said.append, lambda kind, _group, text: self.notes.append((kind, text)))

    def start(self, check: Any, **terms: Any) -> None:
        spec = CheckConfig(kind="http", options=None, **{"name": "app", "jitter_s": 0.0, "hold_s": 0.0} | terms)
        self.health.start(spec, self.links, check if callable(check) else lambda links: check)

    @property
    def why(self) -> str:
        """What the core was told last."""
        (*_, event) = self.said
        assert isinstance(event, HealthChanged)
        assert event.ok is (not event.why)
        return event.why


def play(story: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """A story in which nothing reaches the loop's own handler: that would end the agent."""

    async def told(now: Callable[[], float]) -> None:
        unexpected: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unexpected.append(what))
        stage = Stage(now)
        await story(stage)
        before = len(stage.said)
        await asyncio.wait_for(stage.health.close(), 10)
        gc.collect()
        await asyncio.sleep(60)
        assert unexpected == []
        assert len(stage.said) == before, "nothing is heard of it any more"

    run_virtual(told)


def test_a_check_is_asked_every_interval_and_believed_after_a_few_answers() -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        stage.start(service, interval_s=2.0, fall=3, rise=2)
        await asyncio.sleep(7)
        assert service.asked == [0, 2, 4, 6]
        assert stage.said == []
        service.says = DOWN
        await asyncio.sleep(4)  # two bad answers
        assert stage.said == []
        await asyncio.sleep(2)
        assert stage.why == "it answers 503"
        service.says = Verdict(is_fit=True)
        await asyncio.sleep(2)
        assert stage.why == "it answers 503"
        await asyncio.sleep(2)
        assert stage.why == ""

    play(story)


def test_jitter_spreads_the_questions() -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        stage.start(service, interval_s=1.0, jitter_s=0.5)
        await asyncio.sleep(60)
        gaps = [b - a for a, b in zip(service.asked, service.asked[1:], strict=False)]
        assert all(1 <= gap <= 1.501 for gap in gaps)
        assert len({round(gap, 2) for gap in gaps}) > 5

    play(story)


def test_a_slow_answer_delays_no_more_than_the_next_question() -> None:
    async def story(stage: Stage) -> None:
        asked: list[float] = []

        async def probe() -> Verdict:
            asked.append(round(stage.now() - 1000, 1))
            await asyncio.sleep(1.5)
            return Verdict(is_fit=True)

        service = Service()
        service.probe = probe  # type: ignore[method-assign]
        stage.start(service, interval_s=1.0, timeout_s=5.0)
        await asyncio.sleep(5)
        assert asked == [0, 1.5, 3, 4.5]

    play(story)


@pytest.mark.parametrize("work", [hang, hang_on], ids=lambda work: work.__name__)
def test_a_check_that_does_not_answer_has_failed_and_piles_up_nothing(work: Callable[..., Any]) -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        service.probe = work  # type: ignore[method-assign]
        before = len(asyncio.all_tasks())
        stage.start(service, timeout_s=0.5)
        await asyncio.sleep(2)
        assert stage.said[0] == HealthChanged(
            group="web", ok=False, why="check app (http): no answer to probe within 0.5 s"
        )
        await asyncio.sleep(600)
        assert len(asyncio.all_tasks()) <= before + 2
        assert stage.why

    play(story)


@pytest.mark.parametrize("bad", [*WAYS, give_up], ids=lambda bad: bad.__name__)
@pytest.mark.parametrize("verb", ["probe", "watch", "its making"])
def test_a_check_that_breaks_makes_the_node_unfit_and_no_more(verb: str, bad: Callable[..., NoReturn]) -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        service.probe = in_a_coroutine(bad)  # type: ignore[method-assign]
        stage.start({"probe": service, "watch": Watch(in_a_coroutine(bad)), "its making": bad}[verb])
        await asyncio.sleep(1)
        assert stage.why.startswith(f"check app (http) broke in {verb}: {WAYS.get(bad, '')}")

    play(story)


@pytest.mark.parametrize("nonsense", [None, True, "all is well", Verdict(is_fit="yes")])  # type: ignore[arg-type]
def test_nonsense_is_no_verdict(nonsense: object) -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        service.says = nonsense
        stage.start(service)
        await asyncio.sleep(1)
        assert stage.why.endswith(f"broke in its verdict: a {type(nonsense).__name__} is no Verdict")

    play(story)


def test_what_is_watched_counts_at_once_and_one_that_ends_is_started_again() -> None:
    async def story(stage: Stage) -> None:
        reports: list[Report] = []

        async def watch(report: Report) -> None:
            reports.append(report)
            report(Verdict(is_fit=True))
            await asyncio.sleep(5)

        stage.start(lambda links: Watch(watch))
        await asyncio.sleep(1)
        reports[0](DOWN)
        assert stage.why == "it answers 503"
        reports[0]("nonsense")  # type: ignore[arg-type]
        assert "is no Verdict" in stage.why
        reports[0](Verdict(is_fit=True))
        assert stage.why == ""
        await asyncio.sleep(5)
        assert stage.why == "check app (http) stopped watching"
        await asyncio.sleep(10)
        assert (len(reports), stage.why) == (2, "")

    play(story)


def test_news_of_a_link_that_break_a_check_break_nobody_else() -> None:
    async def story(stage: Stage) -> None:
        def make(links: Any) -> Watch:
            async def watch(report: Report) -> None:
                links.subscribe("eth0", lambda link: 1 / 0)
                await hang()

            return Watch(watch)

        stage.start(make)
        heard: list[object] = []
        await asyncio.sleep(1)
        stage.links.subscribe("eth0", heard.append)
        stage.links.learn(link("eth0", 3))
        assert len(heard) == 1
        assert "broke in what it heard of a link: ZeroDivisionError" in stage.why

    play(story)


def test_what_is_not_required_is_told_and_moves_nothing() -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        service.says = DOWN
        stage.start(service, required=False, rise=1)
        await asyncio.sleep(3)
        assert stage.health.facts()["app"] == {
            "kind": "http",
            "required": False,
            "weight": None,
            "passes": False,
            "why": "it answers 503",
        }
        service.says = Verdict(is_fit=True)
        await asyncio.sleep(3)
        assert stage.said == []
        assert stage.health.why_not == ""
        assert stage.notes == [
            (Kind.CHECK, "check app, which is not required, fails: it answers 503"),
            (Kind.CHECK, "check app, which is not required, passes again"),
        ]

    play(story)


def test_failing_checks_with_a_weight_are_a_penalty_and_leave_the_node_fit() -> None:
    async def story(stage: Stage) -> None:
        disk, link, app = Service(), Service(), Service()
        stage.start(disk, name="disk", weight=20, rise=1)
        stage.start(link, name="link", weight=5, rise=1)
        stage.start(app, name="app", rise=1)
        await asyncio.sleep(1.5)
        assert stage.said == []
        for service, then in ((disk, (True, "", 20)), (link, (True, "", 25)), (app, (False, DOWN.why, 25))):
            service.says = DOWN
            await asyncio.sleep(3)
            assert stage.said[-1] == HealthChanged("web", *then)
        assert stage.health.facts()["disk"] == {
            "kind": "http",
            "required": False,
            "weight": 20,
            "passes": False,
            "why": "it answers 503",
        }
        for service, then in ((disk, (False, DOWN.why, 5)), (app, (True, "", 5)), (link, (True, "", 0))):
            service.says = Verdict(is_fit=True)
            await asyncio.sleep(1)
            assert stage.said[-1] == HealthChanged("web", *then)
        assert len(stage.said) == 6, "the same answer again is no news"
        assert stage.notes == [
            (Kind.CHECK, "check disk, of weight 20, fails: it answers 503"),
            (Kind.CHECK, "check link, of weight 5, fails: it answers 503"),
            (Kind.CHECK, "check disk, of weight 20, passes again"),
            (Kind.CHECK, "check link, of weight 5, passes again"),
        ]

    play(story)


def test_a_reload_forgets_no_penalty_and_weighs_anew() -> None:
    async def story(stage: Stage) -> None:
        disk = Service()
        disk.says = DOWN
        stage.start(disk, name="disk", weight=20)
        await asyncio.sleep(1)
        earlier = stage.health
        stage.health = Health("web", stage.said.append, lambda kind, _group, text: stage.notes.append((kind, text)))
        stage.health.follow(earlier, ["disk"])
        await earlier.close()
        stage.start(disk, name="disk", weight=30, rise=1)
        assert stage.health.penalty == 30
        await asyncio.sleep(1)
        disk.says = Verdict(is_fit=True)
        await asyncio.sleep(1)
        assert stage.said == [HealthChanged("web", ok=True, penalty=penalty) for penalty in (20, 30, 0)]
        assert [text for _, text in stage.notes] == [
            "check disk, of weight 20, fails: it answers 503",
            "check disk, of weight 30, passes again",
        ]

    play(story)


def test_a_verdict_without_a_reason_has_one_and_a_strange_one_is_one_line() -> None:
    async def story(stage: Stage) -> None:
        service = Service()
        service.says = Verdict(is_fit=False)
        stage.start(service)
        await asyncio.sleep(0.5)
        assert stage.why == "check app (http) fails"
        service.says = Verdict(is_fit=False, why="\ud800 is down\n")
        await asyncio.sleep(1)
        assert stage.why == "? is down"

    play(story)
