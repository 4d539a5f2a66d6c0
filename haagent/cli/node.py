"""node add, node remove, node wait: the nodes of the cluster change one at a time, and each step waits for agreement.

A file is each node's own, and no agent writes the file of another. So the command changes the file of the node where it
runs, and says what to do on the others.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import click

from haagent.cli.completion import nodes
from haagent.cli.invocation import Invocation
from haagent.cli.operate import wait_option
from haagent.cli.outcome import REFUSED, Failure

if TYPE_CHECKING:
    from haagent.config import Config

Facts = dict[str, Any]
Edit = Callable[[str, str, dict[str, str]], str]  # text, path and keys beside `nodes`, to the text that is wanted
LOOK_S = 0.25
USUAL_WAIT_S = 60.0
BACKUP = ".bak"

_wait = wait_option("all nodes agree", default_s=USUAL_WAIT_S, at_once="do not wait")
_dry_run = click.option("--dry-run", is_flag=True, help="Only show how the file would change.")


@click.group()
def node() -> None:
    """Add or remove a node, one at a time, while the others go on serving."""


@node.command()
@click.argument("name")
@click.option("--address", "addresses", multiple=True, required=True, help="Its own; repeat it for several links.")
@click.option("--witness", is_flag=True, help="It votes, and never holds anything.")
@_wait
@_dry_run
@click.pass_obj
def add(
    invocation: Invocation, name: str, *, addresses: tuple[str, ...], witness: bool, wait_s: float, dry_run: bool
) -> None:
    """Add node NAME: to this node's file, which is reloaded; then say what to do on the other nodes, and wait.

    The file as it was is kept beside it as FILE.bak. A second run changes nothing and waits again. Refused (exit status
    4) while another change of the nodes is under way, or too few voters are heard.
    """
    from haagent.config.edit import content, with_node

    facts: Facts = {"addresses": list(addresses)} if len(addresses) > 1 else {"address": addresses[0]}
    facts |= {"witness": True} if witness else {}

    def edit(text: str, path: str, top: dict[str, str]) -> str:
        now = content(text, path)["nodes"]
        if name not in now:
            return with_node(text, path, name, facts, **top)
        if now[name] != facts:
            raise Failure(f"{path} has a node {name} already, and it says {now[name]}.", status=REFUSED)
        return text

    words = " ".join(["add", name, *(f"--address {one}" for one in addresses), *(["--witness"] if witness else [])])
    _change(invocation, name, edit, words, adds=True, wait_s=wait_s, dry_run=dry_run)


@node.command()
@click.argument("name", shell_complete=nodes)
@_wait
@_dry_run
@click.pass_obj
def remove(invocation: Invocation, name: str, *, wait_s: float, dry_run: bool) -> None:
    """Remove node NAME: from this node's file, which is reloaded; then say what to do on the others, and wait.

    Also where groups name it. Before, `haagent standby NAME` moves away what it holds; a node that is gone for good may
    be removed as long as a majority is left. A second run changes nothing and waits again.
    """
    from haagent.config.edit import content, without_node

    def edit(text: str, path: str, top: dict[str, str]) -> str:
        return without_node(text, path, name, **top) if name in content(text, path)["nodes"] else text

    _change(invocation, name, edit, f"remove {name}", adds=False, wait_s=wait_s, dry_run=dry_run)


@node.command("wait")
@_wait
@click.pass_obj
def wait_(invocation: Invocation, *, wait_s: float) -> None:
    """Wait until all nodes are heard, have the same file, and agree on who votes. Exit status 1: they do not."""
    facts = _until_agreed(invocation, wait_s)
    invocation.tell({"done": True, "voters": facts["voters"], "text": _all_agree(facts)})


# ---------------------------------------------------------------------- the change


def _change(
    invocation: Invocation, name: str, edit: Edit, words: str, *, adds: bool, wait_s: float, dry_run: bool
) -> None:
    facts = invocation.ask("status")
    path = os.path.realpath(facts["file"])
    _refuse(_obstacle(facts, name, adds=adds))
    before, after, wanted = _edited(path, facts, edit)
    _refuse(_missing_majority(facts, name, wanted, adds=adds))
    diff = "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), path, path))
    result: Facts = {"node": name, "file": path, "diff": diff, "done": False}
    if dry_run:
        invocation.tell(result, diff.rstrip("\n") or f"{path} says so already.")
        return
    _put_in_force(invocation, path, before, after)
    result["others"] = dict(_elsewhere(facts, name, words, adds=adds))
    for where, what in result["others"].items():
        invocation.progress(f"on {where}: {what}")
    result |= {"voters": facts["voters"], "text": f"{path} is in force here."}
    if wait_s:
        invocation.when_interrupted = f"no longer waiting; {path} is in force here. `haagent node wait` goes on."
        away = {one["name"] for one in facts["members"] if one["state"] == "offline"} - ({name} if adds else set())
        facts = _until_agreed(invocation, wait_s, away)
        result |= {"done": True, "voters": facts["voters"], "text": _all_agree(facts)}
    invocation.tell(result)


def _edited(path: str, facts: Facts, edit: Edit) -> tuple[str, str, list[str]]:
    """The text as it is, as it is to be, and the nodes that are in it then."""
    from haagent.config import parse
    from haagent.config.document import read_file
    from haagent.config.edit import CannotEdit

    def parsed(text: str) -> Config:
        return parse(text.encode(), path, node=facts["node"])

    before = read_file(path).decode("utf-8-sig", "replace")
    present = parsed(before)
    try:
        after = edit(before, path, {})
        if after != before and present.digest != facts["digest"]:
            text = f"{path} has changes that the agent does not run: `haagent reload`, or take them back, first."
            raise Failure(text, status=REFUSED)
        wanted = parsed(after)
        if wanted.on_partition != present.on_partition:
            # It was not written, and follows from how many nodes there are; while agents run it cannot change.
            after = edit(before, path, {"on_partition": present.on_partition})
            wanted = parsed(after)
    except CannotEdit as error:
        raise Failure(f"{error}.") from error
    return before, after, list(wanted.nodes)


def _refuse(why: str) -> None:
    if why:
        raise Failure(f"{why}.", status=REFUSED)


def _obstacle(facts: Facts, name: str, *, adds: bool) -> str:
    """Why no change of this node can be made now; empty: it can."""
    if not adds and name == facts["node"]:
        return f"{name} is this node, which would go on alone: run this on another node"
    if not facts["quorate"]:
        return f"{facts['node']} hears no majority, so nothing can be agreed: bring the other nodes back first"
    for member in facts["members"]:
        # Also a change of this node that has another address there.
        others = [key for key in member["config_differs"] if f"{key}.".startswith("nodes.") and key != f"nodes.{name}"]
        if others:
            return f"{member['name']}'s file differs in {', '.join(others)}: finish that change of the nodes first"
    held = [group["name"] for group in facts["groups"] if group["holder"] == name]
    held += ["leader"] if facts["leader"] == name else []
    if held and not adds:
        return f"{name} holds {', '.join(held)}: `haagent standby {name}` first"
    return ""


def _missing_majority(facts: Facts, name: str, wanted: list[str], *, adds: bool) -> str:
    """Why these nodes would not come to an agreement; empty: they would."""
    from haagent.core.agreement import steps

    if not _is_agreed(facts):
        return ""
    if way := steps(facts["voters"], wanted):
        return f"The voters are {', '.join(facts['voters'])}, and one at a time may come or go: {way}"
    heard = {member["name"] for member in facts["members"] if member["state"] != "offline"}
    counted = (heard | ({name} if adds else set())) & {*wanted}
    if 2 * len(counted) <= len(wanted):
        return f"Of {', '.join(wanted)} only {', '.join(sorted(counted))} would be heard, and that is no majority"
    return ""


def _is_agreed(facts: Facts) -> bool:
    return facts["on_partition"] == "consistent" and facts["coordination"] is None


def _put_in_force(invocation: Invocation, path: str, before: str, after: str) -> None:
    from haagent.config.files import write_whole
    from haagent.control.client import ControlError

    now = os.stat(path)

    def write(to: str, text: str) -> None:
        try:
            write_whole(to, text, mode=now.st_mode & 0o777, owner=(now.st_uid, now.st_gid), replace=True)
        except OSError as error:
            raise Failure(f"{to} cannot be written: {error.strerror}; run this as the owner of {path}.") from error

    if before != after:
        write(path + BACKUP, before)
        write(path, after)
    try:
        invocation.ask("reload")
    except ControlError:
        if before != after:
            write(path, before)
        raise


def _elsewhere(facts: Facts, name: str, words: str, *, adds: bool) -> Iterator[tuple[str, str]]:
    for member in facts["members"]:
        if not member["me"] and member["name"] != name and member["config_matches"]:
            yield member["name"], f"haagent node {words}"
    yield name, "copy the file and the key there, then start the agent" if adds else "stop the agent, and disable it"


# ---------------------------------------------------------------------- agreement


def _until_agreed(invocation: Invocation, wait_s: float, away: Collection[str] = ()) -> Facts:
    said, until = "", time.monotonic() + wait_s
    with invocation.agent() as agent:
        while True:
            facts = agent.ask("status")
            if not (lacking := list(_lacking(facts, away))):
                return facts
            if time.monotonic() >= until:
                text = f"Not all agree after {wait_s:g} s: {'; '.join(lacking)}. `haagent node wait` goes on waiting."
                raise Failure(text, details={"lacking": lacking, "voters": facts["voters"]})
            if (line := "; ".join(lacking)) != said:
                said = line
                invocation.progress(line)
            time.sleep(LOOK_S)


def _lacking(facts: Facts, away: Collection[str]) -> Iterator[str]:
    """`away`: who need not be heard."""
    for member in facts["members"]:
        if member["state"] == "offline" and member["name"] not in away:
            yield f"{member['name']} is not heard"
        elif member["state"] != "offline" and not member["config_matches"]:
            keys = f" in: {', '.join(member['config_differs'])}" if member["config_differs"] else ""
            yield f"{member['name']}'s file differs{keys}"
    if _is_agreed(facts) and {*facts["voters"]} != {member["name"] for member in facts["members"]}:
        yield f"the voters are still {', '.join(facts['voters'])}"


def _all_agree(facts: Facts) -> str:
    text = f"All agree: the nodes are {', '.join(member['name'] for member in facts['members'])}."
    lost = [member["name"] for member in facts["members"] if member["state"] == "offline"]
    return f"{text} Put the same file on {', '.join(lost)} before the agent is started there." if lost else text
