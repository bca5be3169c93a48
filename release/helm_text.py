"""Objects of Kubernetes as templates of Helm: one text for all components, with conditions where they differ."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Node = Any
"""A tree of maps, lists and scalars, with the types of this module where components differ."""
_PLAIN_KEY = re.compile(r"[A-Za-z][\w./-]*")


class Expression(str):
    """An expression of Helm in the place of a value; it gives JSON."""


class When(NamedTuple):
    """An entry of a map, or an item of a list, that is there only if an expression is true."""

    condition: str
    node: Node


class Choice(NamedTuple):
    """A scalar that is another one if an expression is true."""

    condition: str
    node: Node
    otherwise: Node


def merged(base: Node, variants: Mapping[str, Node], place: str) -> Node:
    """One tree for an object as it is without components and with each of them.

    A component may add entries to maps, append to lists, and replace scalars. `place` is named where two of them change
    the same, or one takes something away, which no condition of this form says.

    Raises:
        ValueError: such a change.
    """
    changed = {name: node for name, node in variants.items() if node != base}
    if not changed:
        return base
    everywhere = [base, *changed.values()]
    if all(isinstance(node, dict) for node in everywhere):
        return _merged_map(base, changed, place)
    if all(isinstance(node, list) for node in everywhere):
        return _merged_list(base, changed, place)
    if len(changed) == 1 and not any(isinstance(node, dict | list) for node in everywhere):
        ((component, node),) = changed.items()
        return Choice(condition(component), node, base)
    raise ValueError(f"{place}: components {', '.join(changed)} do not go together in a chart")


def _merged_map(base: dict[str, Node], changed: Mapping[str, dict[str, Node]], place: str) -> dict[str, Node]:
    made: dict[str, Node] = {}
    for key, node in base.items():
        without = [name for name, own in changed.items() if key not in own]
        if without:
            raise ValueError(f"{place}.{key}: component {without[0]} takes it away")
        made[key] = merged(node, {name: own[key] for name, own in changed.items()}, f"{place}.{key}")
    for name, own in changed.items():
        for key in (key for key in own if key not in base):
            if key in made:
                raise ValueError(f"{place}.{key}: component {name} adds what another one adds")
            made[key] = When(condition(name), own[key])
    return made


def _merged_list(base: list[Node], changed: Mapping[str, list[Node]], place: str) -> list[Node]:
    size = len(base)
    if any(len(own) < size for own in changed.values()):
        raise ValueError(f"{place}: a component takes an item away")
    items = [merged(node, {name: own[at] for name, own in changed.items()}, place) for at, node in enumerate(base)]
    return [*items, *(When(condition(name), item) for name, own in changed.items() for item in own[size:])]


def condition(component: str) -> str:
    """The expression that is true if a component is wanted."""
    return f'index .Values.components "{component}"'


def text_of(node: dict[str, Node], replace: Callable[[str], str]) -> str:
    """The template of an object; `replace` puts expressions into scalars, which are JSON and escaped."""
    return "".join(f"{line}\n" for line in _Writer(replace).map_lines(node, ""))


class _Writer:
    """Lines of YAML in blocks; a list with conditions is in one line, since without items it would be no list."""

    def __init__(self, replace: Callable[[str], str]) -> None:
        self._replace = replace

    def map_lines(self, node: Mapping[str, Node], indent: str) -> Iterator[str]:
        for key, value in node.items():
            name = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)
            if isinstance(value, When):
                yield f"{indent}{{{{- if {value.condition} }}}}"
                yield from self._entry(f"{indent}{name}:", value.node, indent)
                yield f"{indent}{{{{- end }}}}"
            else:
                yield from self._entry(f"{indent}{name}:", value, indent)

    def _entry(self, head: str, value: Node, indent: str) -> Iterator[str]:
        if isinstance(value, dict) and value:
            yield head
            yield from self.map_lines(value, indent + "  ")
        elif isinstance(value, list) and value and not any(isinstance(item, When) for item in value):
            yield head
            for item in value:
                yield from self._item(item, indent)
        elif isinstance(value, str) and "\n" in value and not isinstance(value, Expression):
            yield from self._block(head, value, indent)
        else:
            yield f"{head} {self.flow(value)}"

    def _item(self, item: Node, indent: str) -> Iterator[str]:
        if isinstance(item, dict) and item:
            first, *others = self.map_lines(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from others
        else:
            yield f"{indent}- {self.flow(item)}"

    def _block(self, head: str, value: str, indent: str) -> Iterator[str]:
        lines = value.split("\n")
        last_is_empty = lines[-1] == ""
        yield f"{head} |2{'' if last_is_empty else '-'}"
        for line in lines[:-1] if last_is_empty else lines:
            yield f"{indent}  {self._escaped(line)}" if line else ""

    def flow(self, node: Node) -> str:
        """A value in one line, with conditions inside."""
        if isinstance(node, Expression):
            return str(node)
        if isinstance(node, Choice):
            return (
                f"{{{{ if {node.condition} }}}}{self.flow(node.node)}"
                f"{{{{ else }}}}{self.flow(node.otherwise)}{{{{ end }}}}"
            )
        if isinstance(node, list):
            return f"[{''.join(map(self._flow_item, node))}]"
        return self._escaped(json.dumps(node, ensure_ascii=False))

    def _flow_item(self, item: Node) -> str:
        if isinstance(item, When):
            return f"{{{{ if {item.condition} }}}}{self.flow(item.node)}, {{{{ end }}}}"
        return f"{self.flow(item)}, "

    def _escaped(self, text: str) -> str:
        """Braces of Argo, Prometheus and Grafana come out of Helm as they are."""
        return self._replace(text.replace("{{", '{{ "{{" }}'))
