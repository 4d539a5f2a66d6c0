"""The client half of the control socket: synchronous and of the standard library alone, because it must start fast."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from haagent.control.place import SOCKET, running_pid, socket_path

ANSWER_S = 5.0  # an agent that is alive answers in milliseconds

NOT_RUNNING = 3  # exit status


class ControlError(Exception):
    """The command cannot be done; `status` is the exit status, the text says what to do next."""

    def __init__(self, message: str, *, status: int = 1, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message, self.status, self.details = message, status, details or {}


class Client:
    """One connection to the agent; several requests may follow one another on it."""

    def __init__(self, run_dir: str, *, answer_s: float = ANSWER_S) -> None:
        self._run_dir, self._answer_s = run_dir, answer_s
        self._socket = _connect(run_dir)
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def ask(
        self,
        command: str,
        *,
        wait_s: float | None = None,
        progress: Callable[[str], None] | None = None,
        **arguments: object,
    ) -> dict[str, Any]:
        """The result, or ControlError. `wait_s`: an argument too; so long the agent itself may take to answer."""
        if wait_s is not None:
            arguments["wait_s"] = wait_s
        for line in self._exchange(command, (wait_s or 0.0) + self._answer_s, arguments):
            if "result" in line:
                result = line["result"]
                if isinstance(result, dict):
                    return result
                break
            if "progress" in line and progress is not None:
                progress(str(line["progress"]))
        raise ControlError(f"The agent's answer to `{command}` makes no sense; is it of another release?")

    def follow(self, command: str, *, answer_s: float | None = None, **arguments: object) -> Iterator[dict[str, Any]]:
        """Events, as they happen, until the agent goes or the caller has had enough, or it is silent for `answer_s`."""
        for line in self._exchange(command, answer_s, arguments):
            if isinstance(line.get("event"), dict):
                yield line["event"]
            elif "result" in line:
                return

    def _exchange(self, command: str, answer_s: float | None, arguments: dict[str, object]) -> Iterator[dict[str, Any]]:
        request = json.dumps({"command": command, **arguments}) + "\n"
        self._socket.settimeout(answer_s)
        try:
            self._socket.sendall(request.encode())
            for raw in self._lines:
                yield _parsed(raw)
        except TimeoutError:
            raise self._silent(answer_s or 0.0) from None
        except (BrokenPipeError, ConnectionResetError):
            pass
        raise ControlError("The agent closed the connection: it is stopping. Try again when it is back.")

    def _silent(self, waited_s: float) -> ControlError:
        pid = running_pid(self._run_dir)
        process = f" (process {pid})" if pid else ""
        return ControlError(
            f"The agent{process} has not answered for {waited_s:g} s: it is frozen or overloaded. "
            "Look at it with `systemctl status haagent`."
        )


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except ValueError:
        raise ControlError("The agent's answer is cut short: it has just ended. Try again.") from None
    if not isinstance(line, dict):
        raise ControlError("The agent's answer makes no sense; is it of another release?")
    error = line.get("error")
    if isinstance(error, dict):
        details = {key: value for key, value in error.items() if key not in ("status", "message")}
        raise ControlError(str(error.get("message")), status=int(error.get("status", 1)), details=details)
    return line


def _connect(run_dir: str) -> socket.socket:
    place = os.path.join(run_dir, SOCKET)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_S)
    try:
        with socket_path(run_dir) as path:
            connection.connect(path)
    except OSError as error:
        connection.close()
        raise _unreachable(place, error) from None
    return connection


def _unreachable(place: str, error: OSError) -> Exception:
    match error:
        case FileNotFoundError() | ConnectionRefusedError() | NotADirectoryError():
            message = f"The agent is not running here (nothing listens at {place})."
            return ControlError(f"{message} Start it with `systemctl start haagent`.", status=NOT_RUNNING)
        case PermissionError():
            message = f"You may not use {place}. Run this as root or as a member of the group `haagent`."
            return ControlError(message, status=4)
        case TimeoutError() | BlockingIOError():
            message = f"The agent does not take connections at {place}: it is frozen or overloaded."
            return ControlError(f"{message} Look at it with `systemctl status haagent`.")
    return error
