"""The manual pages, made from the program and its documents: `python -m manual.pages DIRECTORY`.

Run from the project's directory when a package is built. haagent(8) and a page for each command come from the
commands themselves (`reference`), haagent.yaml(5) from docs/reference/configuration.md, haagent.service(8) from
systemd/README.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from haagent import __version__
from haagent.cli.commands import COMMANDS
from manual import reference, roff

OVERVIEW = """## Synopsis
**haagent** COMMAND [OPTION...] [ARGUMENT...]

## Description
haagent runs on every host of a cluster. It hears the other hosts, agrees with them which one is active, binds the
floating addresses there, tells the neighbours, and can always say why.

{commands}
## Options
{common}
## Exit status
{statuses}
## Environment
| | |
|---|---|
| `HAAGENT_RUN_DIR`, `HAAGENT_STATE_DIR` | Instead of `--run-dir` and `--state-dir`. |
| `NO_COLOR` | Not empty: no colours. |
| `HAAGENT_DEBUG` | Not empty: an unexpected fault shows its traceback. |

## Files
| | |
|---|---|
| `/etc/haagent/haagent.yaml` | The configuration, the same on every node: `haagent.yaml`(5). |
| `/etc/haagent/cluster.key` | The cluster key, readable by the agent's user alone. |
| `/run/haagent` | Belongs to the agent's user or root; nobody else may write there, else the agent does not start. |
| `/run/haagent/haagent.sock` | The socket of the running agent, for root and members of the group haagent. |
| `/var/lib/haagent/memory.json` | Operators' orders (standby, maintenance), kept over a restart. |
"""
DOCUMENTS = {
    ("haagent.yaml", 5): ("docs/reference/configuration.md", "configuration of a haagent cluster"),
    ("haagent.service", 8): ("systemd/README.md", "the agent as a service"),
}


def pages(project: Path) -> Iterator[tuple[str, str]]:
    """File name and content of each."""
    yield _page("haagent", 8, "a floating address that at most one host has at a time", _overview())
    for name in (name for family in COMMANDS.values() for name in family):
        what = reference.command(name).get_short_help_str(100).rstrip(".")
        yield _page(f"haagent-{name}", 8, what, _of_command(name))
    for (name, section), (file, what) in DOCUMENTS.items():
        yield _page(name, section, what, f"## Description\n{(project / file).read_text()}")


def _page(name: str, section: int, what: str, text: str) -> tuple[str, str]:
    # A package that is built twice from the same source is the same: reproducible-builds.org/specs/source-date-epoch
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = time.strftime("%Y-%m-%d", time.gmtime(float(epoch))) if epoch else ""
    others = [f"`{other}`({number})" for other, number in (("haagent", 8), *DOCUMENTS) if other != name]
    title = roff.title(name, section, version=__version__, date=date)
    named = f"{roff.section('Name')}{roff.escaped(name)} \\- {roff.inline(what)}\n"
    return f"{name}.{section}", title + named + roff.markdown(f"{text}\n## See also\n{', '.join(others)}\n")


def _overview() -> str:
    families = []
    for family, commands in COMMANDS.items():
        rows = [f"| `haagent-{name}`(8) | {what} |" for name, (_, what) in commands.items()]
        families.append("\n".join([f"## {family}", "| | |", "|---|---|", *rows]))
    common = f"{reference.COMMON}\n{reference.common_options()}"
    return OVERVIEW.format(commands="\n\n".join(families) + "\n", common=common, statuses=reference.STATUSES)


def _of_command(name: str) -> str:
    parts = {
        "Synopsis": f"`{reference.synopsis(name)}` [OPTION...]\n",
        "Description": reference.prose(name),
        "Options": reference.own_options(name),
        "Commands": reference.below(name),
        "Common options": reference.common_options(),
    }
    return "\n".join(f"## {title}\n{text}" for title, text in parts.items() if text)


def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    for name, content in pages(Path.cwd()):
        Path(directory, name).write_text(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
