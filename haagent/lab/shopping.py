"""The story of a user's session, told with real requests: a shop on two nodes, a balancer in front, a customer.

The balancer is a HAProxy on a host of its own, with the configuration that `haagent lb haproxy` prints. Each claim of
the story is checked while it is told: one that does not hold ends it with a LabError. Figures are told and not judged.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from haagent.lab import namespaces
from haagent.lab.agents import executable
from haagent.lab.cluster import Lab, Tell
from haagent.lab.customer import Answer, Customer
from haagent.lab.errors import EarlyEnd, LabError
from haagent.lab.plan import CLIENT

SHOP = Path(__file__).parents[2] / "examples" / "shop" / "shop.py"
SHOP_PORT, HEALTH_PORT, BALANCED_PORT = 8080, 7266, 80
COOKIE = "HANODE"  # as `haagent lb haproxy` names it
USER = "US"
UNANSWERED = (0, 502, 503, 504)  # by a node: there was no answer, or it was the balancer's
PATIENCE_S = 30.0
PAUSE_S = 0.01  # between two looks of a customer who waits
HINT = "`make lab-sessions` installs what the shop needs; examples/shop/README.md says how to do it by hand"


class Told(msgspec.Struct, frozen=True):
    at_s: float  # since the shop opened
    text: str


class Story(msgspec.Struct):
    """What was told, and the figures in it."""

    first: str = ""  # the node that the user came to, and that was lost
    second: str = ""
    lines: list[Told] = []
    lost_ms: float = 0.0  # from the loss of the host to a page of the other node
    change_ms: float = 0.0  # for the first change there
    ready_ms: float = 0.0  # from the start of the agent to the first "I am well" that was seen
    back_ms: float = 0.0  # ... to a page of that node
    failed: int = 0  # so many pages did not come when they were asked for, and were asked for again


def default_shop() -> list[str]:
    return [sys.executable, str(SHOP)]


def require(shop: Sequence[str]) -> None:
    """Before anything is built."""
    if not shutil.which("haproxy", path=namespaces.search_path()):
        raise LabError("the balancer is missing: apt install haproxy")
    if not shutil.which(shop[0], path=namespaces.search_path()):
        raise LabError(f"there is no {shop[0]}; {HINT}")
    if missing := [word for word in shop[1:] if word.endswith((".py", ".js")) and not Path(word).exists()]:
        raise LabError(f"there is no {missing[0]}; the shop is in examples/shop of haagent's source")


def play(
    lab: Lab, shop: Sequence[str], tell: Tell, *, cookie: str = COOKIE, settle: Callable[[], None] = lambda: None
) -> Story:
    """On a lab with sessions, two nodes or more, and a spare host for the balancer, the last one.

    `cookie`: empty, if the balancer sends each request to another node. `settle`: what passes between a change and the
    page that shows it.
    """
    with _opened(lab, shop, cookie) as customer:
        told = Shopping(lab, shop, customer, tell, settle)
        told.log_in()
        told.lose_host()
        told.come_back()
        told.log_out()
        return told.story


class Shopping:
    def __init__(
        self, lab: Lab, shop: Sequence[str], customer: Customer, tell: Tell, settle: Callable[[], None]
    ) -> None:
        self._lab, self._shop, self._customer, self._tell, self._settle = lab, shop, customer, tell, settle
        self._began_s = time.monotonic()
        self.story = Story()

    # ---- the acts, in this order ----

    def log_in(self) -> None:
        answer = self._do("/login", user=USER)
        first = self._customer.cookies.get(COOKIE, answer.served_by)
        _claim(
            answer.is_of(USER) and answer.served_by == first, f"{USER} is logged in by the node of the cookie", answer
        )
        second = next(node.name for node in self._lab.state().plan.nodes if node.name != first and not node.witness)
        self.story.first, self.story.second = first, second
        why = f"the balancer's cookie is {COOKIE}={first}" if self._is_kept else "the next request may go elsewhere"
        self._say(f"{USER} logs in at {first}: {why}.")
        for item in ("book", "lamp", "kettle"):
            answer = self._do("/add", item=item)
        _claim(answer.cart == ["A book", "A lamp", "A kettle"], "three things are in the cart", answer)
        self._say(f"{USER} puts in three things: {_listed(answer)}.")
        self._wait(lambda: self._past_balancer(second).cart == answer.cart, f"{second} has the cart")
        self._say(f"{second} has the cart too, before it is needed there.")
        if not self._is_kept:
            self._roam(answer.cart)

    def _roam(self, cart: list[str]) -> None:
        pages = [self._seen() for _ in range(2 * len(self._lab.state().plan.nodes))]
        for answer in pages:
            _claim(answer.is_of(USER) and answer.cart == cart, "each page has the cart, whoever serves it", answer)
        served = sorted({answer.served_by for answer in pages})
        _claim(len(served) > 1, "they come from several nodes", pages[-1])
        self._say(f"The next {len(pages)} pages come from {' and '.join(served)}, and each has the cart.")

    def lose_host(self) -> None:
        first, second, cart = self.story.first, self.story.second, self._seen().cart
        self._say(f"Host {first} is lost: its cable is pulled and all its processes are killed.")
        self._lab.faults.crash(first)
        lost_s = time.monotonic()
        answer = self._seen()
        self.story.lost_ms = _ms_since(lost_s)
        _claim(answer.served_by == second, f"{second} serves", answer)
        _claim(answer.is_of(USER), f"{USER} is still logged in", answer)
        _claim(answer.cart == cart, "the cart is as it was", answer)
        self._say(
            f"{second} serves the next page, {self.story.lost_ms:.0f} ms after the loss: {USER} is logged in, and the "
            f"cart is there.{self._failures()}"
        )
        asked_s = time.monotonic()
        answer = self._do("/add", item="chair")
        self.story.change_ms = _ms_since(asked_s)
        _claim(answer.cart == [*cart, "A chair"], "there is one thing more in the cart", answer)
        self._say(
            f"{USER} puts in one more, on {second}, which takes {self.story.change_ms:.0f} ms: {_listed(answer)}."
        )

    def come_back(self) -> None:
        """While it is not ready no page comes from it, and each page has what was made meanwhile."""
        story, lab, customer = self.story, self._lab, self._customer
        first, second, cart = story.first, story.second, self._seen().cart
        tab = {**customer.cookies, COOKIE: first}
        lab.faults.boot(first)
        _open_shop(lab, first, self._shop)
        lab.agents.start(first)
        started_s = time.monotonic()
        self._say(f"{first} boots, and knows no session. A tab that was left open goes on asking for {first}.")
        why = ""
        while True:
            answer = self._seen(tab)
            _claim(answer.is_of(USER) and answer.cart == cart, f"each page has what was made on {second}", answer)
            # after the page: what has served must be ready
            health = customer.ask(lab.state().plan.host(first).address, HEALTH_PORT, "/health")
            if health.status == 503 and health.page != why:
                why = health.page
                self._say(f"{first} answers its balancer 503: {why.strip()}")
            if health.is_good and not story.ready_ms:
                story.ready_ms = _ms_since(started_s)
                direct = self._opened(first)
                _claim(direct.cart == cart, f"{first} is ready with what was made on {second}", direct)
                self._say(f"{first} has joined, and only now is ready: {story.ready_ms:.0f} ms after its start.")
            if answer.served_by == first:
                break
            self._in_time(started_s, f"a page from {first}", answer)
            time.sleep(PAUSE_S)
        _claim(health.is_good, f"{first} serves only when it is ready", health)
        story.back_ms = _ms_since(started_s)
        if self._is_kept:
            customer.cookies[COOKIE] = first
        self._say(f"{first} serves the tab again, {story.back_ms:.0f} ms after its start: {_listed(answer)}.")

    def log_out(self) -> None:
        tabs = {name: {**self._customer.cookies, COOKIE: name} for name in (self.story.first, self.story.second)}
        for name, tab in tabs.items():
            self._wait(lambda: self._is_known(tab, name), f"{name} serves {USER}")  # noqa: B023 - called at once
        answer = self._do("/logout")
        _claim(answer.is_good and not answer.is_of(USER), f"{USER} is logged out", answer)
        for name, tab in tabs.items():
            self._wait(lambda: self._is_known(tab, name) is False, f"{USER} is logged out on {name}")  # noqa: B023
        both = " and ".join(tabs)
        self._say(f"{USER} logs out on {answer.served_by}, and is logged out on {both}.{self._failures()}")

    # ---- how ----

    def _do(self, path: str, **form: str) -> Answer:
        """The page after a change. Who is kept with no node may be sent to one that is lost, and tries once more."""
        asked_s = time.monotonic()
        while (answer := self._customer.send(path, **form)).status in UNANSWERED and not self._is_kept:
            self.story.failed += 1
            self._in_time(asked_s, f"{path} is done", answer)
            time.sleep(PAUSE_S)
        self._settle()
        return self._seen()

    @property
    def _is_kept(self) -> bool:
        """The balancer keeps the user with a node."""
        return COOKIE in self._customer.cookies

    def _seen(self, tab: dict[str, str] | None = None) -> Answer:
        """The page; what fails is counted, and the user asks again."""
        asked_s = time.monotonic()
        while True:
            answer = self._customer.look() if tab is None else self._customer.look_with(tab)
            if answer.is_good:
                return answer
            self.story.failed += 1
            self._in_time(asked_s, "a page", answer)
            time.sleep(PAUSE_S)

    def _is_known(self, tab: dict[str, str], name: str) -> bool | None:
        """None: another node served the tab, or none."""
        answer = self._customer.look_with(tab)
        return answer.is_of(USER) if answer.is_good and answer.served_by == name else None

    def _opened(self, name: str) -> Answer:
        """Past the balancer, when the shop has started: the agent does not wait for it."""
        self._wait(lambda: self._past_balancer(name).is_good, f"the shop of {name} opens")
        return self._past_balancer(name)

    def _past_balancer(self, name: str) -> Answer:
        address = self._lab.state().plan.host(name).address
        return self._customer.ask(address, SHOP_PORT, "/", with_cookies=True)

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        self._lab.wait_for(condition, what=what, within_s=PATIENCE_S)

    @staticmethod
    def _in_time(since_s: float, what: str, answer: Answer) -> None:
        _claim(time.monotonic() - since_s < PATIENCE_S, f"{what} within {PATIENCE_S:g} s", answer)

    def _failures(self) -> str:
        return f" {self.story.failed} pages had to be asked for again." if self.story.failed else ""

    def _say(self, text: str) -> None:
        told = Told(round(time.monotonic() - self._began_s, 3), text)
        self.story.lines.append(told)
        self._tell(f"{told.at_s:9.3f}  {text}")


def _claim(held: bool, what: str, answer: Answer) -> None:
    if not held:
        raise LabError(
            f"the story does not hold. It says: {what}. But {answer.served_by or 'nobody'} answers with status "
            f"{answer.status}, in the cart: {_listed(answer)}. The page: {answer.page!r}"
        )


def _listed(answer: Answer) -> str:
    return ", ".join(answer.cart) or "nothing"


def _ms_since(since_s: float) -> float:
    return round((time.monotonic() - since_s) * 1000, 1)


@contextmanager
def _opened(lab: Lab, shop: Sequence[str], cookie: str) -> Iterator[Customer]:
    """The stores replicate, a shop serves on each node, and the balancer stands before them."""
    plan = lab.state().plan
    nodes, balancer = [node for node in plan.nodes if not node.witness], plan.servers[-1]
    for node in nodes:
        lab.wait_for(partial(lab.agents.replicates, node.name), what=f"{node.name} has joined", within_s=PATIENCE_S)
    shops = {node.name: _open_shop(lab, node.name, shop) for node in nodes}
    file = lab.directory / "haproxy.cfg"
    words = ["lb", "haproxy", "--app-port", str(SHOP_PORT), "--config", str(lab.directory / "haagent.yaml")]
    words += ["--bind", f":{BALANCED_PORT}", "--cookie", cookie]
    file.write_text(lab.run(nodes[0].name, [*executable(), *words]).stdout)
    lab.serve_on(balancer.name, ["haproxy", "-db", "-f", str(file)], log=lab.directory / "haproxy.log")

    def serves(name: str, address: str) -> bool:
        if shops[name].poll() is not None:
            said = _log(lab, name).read_text(errors="replace").strip().splitlines()
            raise EarlyEnd(f"the shop ended on {name}: {said[-1] if said else 'without a word'}. {HINT}")
        return customer.ask(address, SHOP_PORT, "/").is_good

    with Customer(partial(lab.start_on, CLIENT), balancer.address, BALANCED_PORT) as customer:
        for node in nodes:
            lab.wait_for(partial(serves, node.name, node.address), what=f"{node.name} serves", within_s=PATIENCE_S)
            is_balanced = partial(_is_balanced, customer, node.name)
            lab.wait_for(is_balanced, what=f"{node.name} serves by the balancer", within_s=PATIENCE_S)
        yield customer


def _is_balanced(customer: Customer, name: str) -> bool:
    return customer.look_with({COOKIE: name}).served_by == name


def _open_shop(lab: Lab, name: str, shop: Sequence[str]) -> subprocess.Popen[bytes]:
    return lab.serve_on(name, shop, log=_log(lab, name))


def _log(lab: Lab, name: str) -> Path:
    return lab.directory / name / "shop.log"
