"""release: what systemd runs when the agent has ended, however it ended."""

from __future__ import annotations

import os

import click

from haagent.cli.invocation import CONFIG, Invocation
from haagent.cli.outcome import FAILED, REFUSED, Failure


@click.command()
@click.option("--config", "file", type=click.Path(), default=CONFIG, show_default=True)
@click.option("--force", is_flag=True, help="Also while an agent runs here; it will put back what it holds.")
@click.pass_obj
def release(invocation: Invocation, file: str, *, force: bool) -> None:
    """Drop everything this host holds, without the agent.

    Removes the groups' addresses, every address that carries the agent's mark, and then the gate's rules. A
    configuration that cannot be read does not stop it: the marked ones go all the same.
    """
    from haagent.config import ConfigError, check
    from haagent.gate import GateError, remove_tables
    from haagent.kernel.facts import IpInterface
    from haagent.kernel.release import release_all

    _refuse_while_running(invocation.run_dir, is_meant=force)
    if not force and _is_frozen(invocation.state_dir):
        text = "Maintenance is on: everything stays in place. Use `haagent release --force` to remove it all the same."
        invocation.tell({"released": []}, text)
        return
    addresses: list[IpInterface] = []
    try:
        addresses = [address for group in check(file).groups.values() for address in group.addresses]
    except ConfigError:
        why = f"{file} cannot be used (`haagent check-config` says why)"
        invocation.progress(f"{why}: removing by the agent's mark only")
    told: list[str] = []
    try:
        is_clean = release_all(addresses, told.append)
        if is_clean:  # else the gate goes on keeping silent what could not be removed
            remove_tables(told.append)
    except GateError as error:
        raise Failure("\n".join([*told, f"The gate's rules are left: {error}"]), status=FAILED) from error
    except PermissionError as error:
        raise Failure(f"The kernel refuses: {error.strerror}. Run this as root.") from error
    if not is_clean:
        raise Failure("\n".join([*told, "Something is left. Look at `ip addr`, and run this again."]), status=FAILED)
    invocation.tell({"clean": True, "lines": told}, "\n".join(told))


def _is_frozen(state_dir: str) -> bool:
    """The agent stopped during maintenance, which means that its addresses are to outlive it."""
    from haagent.agent import state_file

    return any(order.key == "maintenance" and order.on for order in state_file.load(state_dir).orders)


def _refuse_while_running(run_dir: str, *, is_meant: bool) -> None:
    """Not when systemd runs this after the agent's end: a process that is still stuck there must not keep addresses."""
    from haagent.control.place import running_pid

    if is_meant or "SERVICE_RESULT" in os.environ:
        return
    pid = running_pid(run_dir)
    if pid is not None:
        message = f"The agent runs here (process {pid or 'unknown'}) and would put everything back at once."
        raise Failure(f"{message} Use `haagent standby NODE`, or stop it first.", status=REFUSED)
