"""run: from a command line to a running agent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import Failure

if TYPE_CHECKING:
    from haagent.kernel.layouts import Layouts


@click.command()
@click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True)
@click.option("--node", help="Which node this host is. [by host name, else by its addresses]")
@click.option(
    "--log-level", type=click.Choice(["error", "warning", "info", "debug"]), default="info", show_default=True
)
@click.pass_obj
def run(invocation: Invocation, file: str, *, node: str | None, log_level: str) -> int:
    """Run the agent in the foreground.

    SIGTERM hands everything over and ends it; SIGHUP applies the changed configuration. With --json the lines
    of the log are JSON. There are two processes: the guardian, which is the one to signal, lets go of everything
    when the agent dies.
    """
    from haagent.kernel.layouts import CannotCompose, composing

    try:
        with composing() as layouts:  # before anything is imported: that process imports the most
            return _run(invocation, file, layouts, node=node, log_level=log_level)
    except CannotCompose as error:
        raise Failure(str(error)) from error


def _run(invocation: Invocation, file: str, layouts: Callable[[], Layouts], *, node: str | None, log_level: str) -> int:
    from haagent.config import load, load_keys
    from haagent.control.directories import Unsafe, checked_directory
    from haagent.control.place import AlreadyRunning, run_lock
    from haagent.status import log

    # Whatever the caller's was: the socket's directory must be open to the group `haagent`; what is secret or guarded
    # (keys, the socket) is given its own mode.
    os.umask(0o022)
    try:
        config = load(file, node=node)
        keys = () if config.heartbeat.insecure else load_keys(config.key_files)
        with contextlib.suppress(FileNotFoundError):  # it is made when there is something to keep
            os.close(checked_directory(invocation.state_dir))
        owner = os.getpid() if invocation.guardian is None else os.getppid()
        with (
            run_lock(invocation.run_dir, pid=owner) as lock,
            log.logging_to(node=config.me, level=log_level, as_json=invocation.json),
        ):
            from haagent.agent import daemon  # most of the imports: not needed to say that the file has a fault
            from haagent.agent.assembly import Start
            from haagent.guardian.channel import GuardianChannel
            from haagent.parts import CannotOpen

            guardian = GuardianChannel(invocation.guardian, lock=lock, as_json=invocation.json)
            try:
                start = Start(
                    config=config,
                    keys=keys,
                    run_dir=invocation.run_dir,
                    state_dir=invocation.state_dir,
                    guardian=guardian,
                    layouts=layouts(),
                )
                return daemon.run(start)
            except CannotOpen as error:
                hint = ". Run the agent as root" if isinstance(error.__cause__, PermissionError) else ""
                raise Failure(f"{error}{hint}.") from error
    except Unsafe as error:
        raise Failure(f"{error}.") from error
    except AlreadyRunning as error:
        raise Failure(f"{error}. Stop that one, or give this one its own --run-dir and --state-dir.") from error
    except PermissionError as error:
        raise Failure(f"{error.filename or 'The network'}: {error.strerror}. Run the agent as root.") from error
