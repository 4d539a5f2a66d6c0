"""The guardian's own life: wait, keep what the agent leaves with it, pass signals on, and act when the agent has died.

Nothing here waits for anybody: every descriptor is read when it is ready, answers of the kernel have a time limit, and
a line that cannot be written is lost.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from socket import recv_fds, socket
from types import FrameType

from haagent.guardian import messages, process
from haagent.guardian.cleanup import CleanupState
from haagent.guardian.kernel import Kernel
from haagent.kernel.netlink import Refused

REPEAT_S = (0.002, 0.01, 0.04)  # the last words again, for who lost them: pauses before each
RETRY_S = 0.01  # of a removal that the kernel refused
LEAST_S = 1.0  # to keep trying it, however short the lease
REHEARSE_S = 10.0
MAX_DESCRIPTORS = 253  # the kernel's limit for one message
FAILED = 1


class Guardian:
    def __init__(self, child: int, channel: socket) -> None:
        self._child, self._channel = child, channel
        self._cleanup = CleanupState()
        self._kernel = Kernel()
        self._has_acted = False
        self._pidfd = os.pidfd_open(child)
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (self._pidfd, self._woken, channel.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        channel.setblocking(False)
        # Read from the descriptor, like everything else; the handlers are only there because there must be one.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in process.PASSED_ON:
            signal.signal(number, _note_by_descriptor)

    def watch(self) -> int:
        """The exit status, once the agent has ended and what was left to do is done."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll(1000 * REHEARSE_S)}
            if not ready:
                self._rehearse()
            if self._channel.fileno() in ready and self._has_lost_the_agent():
                self._poll.unregister(self._channel)
                self._act()
            if self._woken in ready:
                self._has_lost_the_agent()  # what it left before somebody signalled comes before the signal
                for number in os.read(self._woken, 512):
                    self._pass_on(number)
            if self._pidfd in ready:
                self._has_lost_the_agent()
                self._act()
                return self._reap()

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGHUP and not self._cleanup.is_in_force:
            return  # it is starting, or ending: it would die of this, and reads the configuration anyway
        with contextlib.suppress(ProcessLookupError):  # it has just ended: that is noticed elsewhere
            signal.pidfd_send_signal(self._pidfd, number)

    def _has_lost_the_agent(self) -> bool:
        """Read all that it has left for us. True when the channel is at its end.

        (No program is run from here that could inherit the descriptors.)
        """
        while True:
            try:
                message, descriptors, _, _ = recv_fds(self._channel, messages.MAX_MESSAGE, MAX_DESCRIPTORS)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            if not message:
                return True
            self._cleanup.receive(message, descriptors)

    # ------------------------------------------------------------------ what the agent cannot do any more

    def _act(self) -> None:
        if self._has_acted or not self._cleanup.is_in_force:
            return
        self._has_acted = True
        began = time.monotonic()
        removed = self._remove(began)
        if removed is None:
            return
        gone_ms = 1000 * (time.monotonic() - began)
        sent, refusal = self._cleanup.speak()
        told_ms = 1000 * (time.monotonic() - began)
        for pause_s in REPEAT_S:
            time.sleep(pause_s)
            self._cleanup.speak()
        held = f"{removed} addresses were gone after {gone_ms:.1f} ms" if removed else "it held no address"
        said = f"the peers were told after {told_ms:.1f} ms" if sent else f"the peers could not be told: {refusal}"
        self._say(process.WARNING, f"the agent has died; {held}, {said}")

    def _remove(self, began: float) -> int | None:
        """How many addresses were removed. None: some could not be, and then nothing must be said to the peers."""
        until = began + max(LEAST_S, self._cleanup.lease_s)
        said = ""
        while True:
            try:
                return self._kernel.strike(self._cleanup.addresses)
            except Refused as refused:
                if str(refused) != said:
                    said = str(refused)
                    self._say(process.ERROR, f"the agent has died, but {said}; trying again")
            if time.monotonic() > until:
                self._say(process.ERROR, "giving up: `haagent release` removes what is left, and the peers wait it out")
                return None
            time.sleep(RETRY_S)

    def _rehearse(self) -> None:
        """The code, the buffers and the kernel's paths for the real thing stay mapped and warm."""
        with contextlib.suppress(Refused):  # it will be told when it matters
            self._kernel.strike(())

    # ------------------------------------------------------------------ the end

    def _reap(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        if code >= 0:
            return code or (FAILED if self._has_acted else 0)
        number = signal.Signals(-code)
        if self._has_acted or number not in process.PASSED_ON:
            self._say(process.ERROR, f"the agent (process {self._child}) was ended by {number.name}")
            return FAILED
        # It was asked to end before it knew how to do that well: ended as asked, which systemd takes for clean.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return FAILED

    def _say(self, level: str, text: str) -> None:
        process.say(level, text, node=self._cleanup.node, as_json=self._cleanup.as_json)


def _note_by_descriptor(_number: int, _frame: FrameType | None) -> None:
    """Python writes the number to the wake-up descriptor before it calls this."""
