"""Text for man(1): the part of Markdown that our documents and the commands' manual use, as man(7) macros.

Known are headings, paragraphs, lists, fenced code and tables; in a line `code`, **bold** and links, of which the text
stays. A table becomes a list whose tags are the first column: a manual page is too narrow for anything else. That, and
minus signs that can be copied, is what the tools that convert Markdown do not do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_CODE, _BOLD, _LINK = r"`([^`]+)`", r"\*\*([^*]+)\*\*", r"\[([^]]+)\]\([^)]*\)"
_PIECES = re.compile(f"{_CODE}|{_BOLD}|{_LINK}")
_STARS = re.compile(r"^\*(.+)\*$")
_OTHER_BLOCK = ("#", "- ", "|", "```", "<!--")


def title(name: str, section: int, *, version: str, date: str) -> str:
    return f'.TH "{escaped(name).upper()}" {section} "{date}" "haagent {version}" "haagent"\n'


def escaped(text: str) -> str:
    """`\\-` is the minus that is typed; a plain `-` may be printed as a hyphen, which nobody can copy."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in safe.split("\n"))


def inline(text: str) -> str:
    """One line of text. Names that are typed are bold."""
    found, at = [], 0
    for piece in _PIECES.finditer(text):
        code, bold, link = piece.groups()
        found.append(escaped(text[at : piece.start()]))
        found.append(escaped(link) if link else f"\\fB{escaped(code or bold)}\\fR")
        at = piece.end()
    joined = "".join(found) + escaped(text[at:])
    return f"\\&{joined}" if joined.startswith((".", "'")) else joined


def section(name: str) -> str:
    return f'.SH "{escaped(name).upper()}"\n'


def subsection(name: str) -> str:
    return f'.SS "{inline(name)}"\n'


def entry(tag: str, text: str) -> str:
    """`tag` may hold `code`."""
    return f".TP\n{inline(tag)}\n{inline(text)}\n"


def code(lines: Sequence[str]) -> str:
    return ".PP\n.RS 4\n.nf\n" + "".join(f"{escaped(line)}\n" for line in lines) + ".fi\n.RE\n"


def markdown(text: str) -> str:
    """A document without its first heading, which is its title."""
    lines = text.splitlines()
    parts, at = [], 0
    while at < len(lines):
        line = lines[at]
        end = at + 1
        if line.startswith("```"):
            end = next(number for number in range(at + 1, len(lines)) if lines[number].startswith("```")) + 1
            parts.append(code(lines[at + 1 : end - 1]))
        elif line.startswith("|"):
            end = _end(lines, at, lambda other: other.startswith("|"))
            parts.append("".join(_rows(lines[at + 2 : end])))
        elif line.startswith("#"):
            parts.append(_heading(line))
        elif line.startswith("- "):
            end = _end(lines, at, lambda other: other.startswith("  "))
            item = " ".join(each.strip() for each in lines[at:end]).removeprefix("- ")
            parts.append(f".IP \\(bu 2\n{inline(item)}\n")
        elif line.strip() and not line.startswith("<!--"):
            end = _end(lines, at, lambda other: bool(other.strip()) and not other.startswith(_OTHER_BLOCK))
            parts.append(_paragraph(lines[at:end]))
        at = end
    return "".join(parts)


def _end(lines: Sequence[str], at: int, goes_on: Callable[[str], bool]) -> int:
    return next((number for number in range(at + 1, len(lines)) if not goes_on(lines[number])), len(lines))


def _heading(line: str) -> str:
    depth, _, name = line.partition(" ")
    return {1: "", 2: section(name)}.get(len(depth), subsection(name))


def _paragraph(lines: Sequence[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    plain = _STARS.sub(r"\1", text)
    return f".PP\n{inline(plain)}\n"


def _rows(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        first, *others = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
        yield entry(first.replace("\\|", "|"), "; ".join(cell for cell in others if cell).replace("\\|", "|"))
