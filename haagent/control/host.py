"""What the control socket needs from the agent, declared by who needs it.

All of it is used in the agent's own event loop. Nothing here blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from haagent.config import Config
    from haagent.core.events import Answer
    from haagent.core.view import View
    from haagent.realtime import Scheduling
    from haagent.trace import Trace
    from haagent.transport import LinkStatus


class Host(Protocol):
    @property
    def config(self) -> Config:
        """The running one; replaced as a whole by a reload."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Counted since start: datagrams dropped, by cause, and what else is worth counting."""

    @property
    def pids(self) -> Mapping[str, int | None]:
        """`guardian`, `agent`, `store`; None: this release or this configuration has no such process."""

    @property
    def jitter_ms(self) -> float | None:
        """How late this process was woken at worst lately; None: not measured."""

    @property
    def scheduling(self) -> Scheduling:
        """Whether it runs in the real-time class, with its memory locked."""

    def view(self) -> View: ...

    def ask(
        self,
        *,
        what: str,
        group: str = "",
        node: str = "",
        on: bool = True,
        force: bool = False,
        wait_s: float = 10.0,
    ) -> Awaitable[Answer]:
        """Give the core an operator's command (`core.events.Asked`)."""

    def trace(self) -> Trace:
        """Its recent inputs and decisions."""

    async def wait_change(self) -> None:
        """Return after the next step that changed the view. Registers before it first suspends."""

    def links(self) -> Sequence[LinkStatus]: ...

    def activations(self) -> Mapping[str, object]:
        """Per group: what activation measured and sees (a struct or builtins)."""

    def coordination(self) -> Mapping[str, object] | None:
        """The arbiter outside: whether it is reached, how long it takes, whom it is bound to; None: there is none."""

    def guards(self) -> Mapping[str, object]:
        """What is asked besides the votes, and what was answered."""

    def fences(self) -> Mapping[str, object]:
        """`nodes`: who can be fenced, how, and what came of it; `faults`: what would keep that from working."""

    async def fence(self, node: str) -> str:
        """Make sure that it is down and return what its agent said; FenceError: it is not certain."""

    def confirm_down(self, node: str, how: str) -> bool:
        """Tell the core that the node is down; False: it does not believe that, because the node is heard."""

    async def reload(self) -> str:
        """Apply the file's present content and say what changed; ConfigError: refused as a whole, nothing changed."""
