"""What the control socket needs from the agent, declared by who needs it.

All of it is used in the agent's own event loop. Nothing here blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from haagent.config import Config
    from haagent.core.events import Answer
    from haagent.core.view import View
    from haagent.parts import Facts
    from haagent.trace import Trace


class Host(Protocol):
    @property
    def config(self) -> Config:
        """The running one; replaced as a whole by a reload."""

    def view(self) -> View: ...

    def status(self) -> Facts:
        """What all parts say of themselves."""

    def counters(self) -> Mapping[str, int]:
        """Counted since start: datagrams dropped, by cause, and what else is worth counting."""

    def trace(self) -> Trace:
        """Its recent inputs and decisions."""

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

    async def wait_change(self) -> None:
        """Return after the next step that changed the view. Registers before it first suspends."""

    async def fence(self, node: str) -> str:
        """Make sure that it is down and return what its agent said; FenceError: it is not certain."""

    async def confirm_down(self, node: str, how: str) -> bool:
        """Tell the core that the node is down; False: it does not believe that, because the node is heard."""

    def reload(self) -> Awaitable[str]:
        """Apply the file's present content and say what changed; ConfigError: refused as a whole, nothing changed."""
