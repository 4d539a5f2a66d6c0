"""A node comes into the text of a configuration, or goes out of it, and nothing else of the text changes.

A person's comments, order and way of writing are kept: pieces of the text are replaced where the parser says that they
are. Whether the result says what it should is asked from the parser again, so a way of writing that nobody thought of
is refused and not damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from haagent.config.document import plain, read_document
from haagent.config.faults import ConfigError
from haagent.config.starter import yaml_text

Tree = dict[str, Any]
Cut = tuple[int, int, str]  # from, to, and what comes there instead


class CannotEdit(Exception):
    """Says what to write by hand."""


def content(text: str, path: str) -> Tree:
    """What is written, whether or not it makes sense. Raises `ConfigError`."""
    found = plain(read_document(text.encode(), path, []))
    assert isinstance(found, dict)
    return found


def with_node(text: str, path: str, name: str, facts: Tree, **top: str) -> str:
    """`top`: keys beside `nodes` that are written as well."""
    wanted = content(text, path)
    wanted["nodes"] = wanted["nodes"] | {name: facts}
    flow = ", ".join(f"{key}: {_flow(value)}" for key, value in facts.items())
    cuts = [_added(text, _below(_root(text), "nodes"), f"{yaml_text(name)}: {{{flow}}}")]
    hand = f"write `{yaml_text(name)}: {{{flow}}}` below `nodes`"
    return _edited(text, path, cuts, wanted, hand, **top)


def without_node(text: str, path: str, name: str, **top: str) -> str:
    """Also where groups name it."""
    wanted, root = content(text, path), _root(text)
    del wanted["nodes"][name]
    cuts = [_removed(text, _below(root, "nodes"), _index(_below(root, "nodes"), name))]
    groups = wanted.get("groups")
    for group, options in groups.items() if isinstance(groups, dict) else ():
        for key in ("prefer", "never"):
            if not isinstance(options, dict) or key not in options:
                continue
            whole, named = _below(root, "groups", group), options[key]
            if named in (name, [name]):
                del options[key]
                cuts.append(_removed(text, whole, _index(whole, key)))
            elif isinstance(named, list) and name in named:
                options[key] = [one for one in named if one != name]
                values = _below(whole, key)
                cuts.append(_removed(text, values, [one.value for one in values.value].index(name)))
    return _edited(text, path, cuts, wanted, f"remove {name} from `nodes`, and from where groups name it", **top)


def _edited(text: str, path: str, cuts: list[Cut], wanted: Tree, by_hand: str, **top: str) -> str:
    for start, end, instead in sorted(set(cuts), reverse=True):
        text = text[:start] + instead + text[end:]
    for key, value in top.items():
        text = f"{text.rstrip()}{_newline(text)}{key}: {value}{_newline(text)}"
    try:
        is_as_wanted = content(text, path) == wanted | top
    except ConfigError:
        is_as_wanted = False
    if not is_as_wanted:
        raise CannotEdit(f"{path} is written in a way that no program should change: {by_hand}")
    return text


# ---------------------------------------------------------------------- where things are


def _root(text: str) -> Any:
    return yaml.compose(text, Loader=yaml.SafeLoader)  # its marks count characters


def _pairs(node: Any) -> Iterator[tuple[Any, Any]]:
    return iter(node.value if isinstance(node, yaml.MappingNode) else ())


def _index(mapping: Any, name: str) -> int:
    return [key.value for key, _ in _pairs(mapping)].index(name)


def _below(node: Any, *path: str) -> Any:
    for name in path:
        node = node.value[_index(node, name)][1]
    return node


def _spans(node: Any) -> list[tuple[int, int]]:
    """Of the entries of a mapping or a list, without what follows them."""
    if isinstance(node, yaml.MappingNode):
        return [(key.start_mark.index, max(key.end_mark.index, _end(value))) for key, value in node.value]
    return [(value.start_mark.index, _end(value)) for value in node.value]


def _end(node: Any) -> int:
    """The parser's own mark of what is written in lines is where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        return _spans(node)[-1][1]
    return int(node.end_mark.index)


def _added(text: str, mapping: Any, entry: str) -> Cut:
    end = _spans(mapping)[-1][1]
    if mapping.flow_style:
        return end, end, f", {entry}"
    line_end = _line_end(text, end)
    has_newline = text[:line_end].endswith("\n")
    indent = " " * mapping.value[-1][0].start_mark.column
    newline = _newline(text)
    return line_end, line_end, f"{'' if has_newline else newline}{indent}{entry}{newline}"


def _removed(text: str, node: Any, index: int) -> Cut:
    spans = _spans(node)
    start, end = spans[index]
    if not node.flow_style:
        return text.rfind("\n", 0, start) + 1, _line_end(text, end), ""
    if index + 1 < len(spans):
        return start, spans[index + 1][0], ""
    return spans[index - 1][1] if index else start, end, ""


def _line_end(text: str, index: int) -> int:
    """Behind it, with the line's comment."""
    if text[index - 1 : index] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _flow(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else yaml_text(value)
