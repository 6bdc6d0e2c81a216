"""YAML as nodes with places: composed by the C parser, with limits where a hostile file would hurt.

Nodes are never turned into Python objects as a whole: what the model does not know is reported, not followed,
so aliases to aliases cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.entries import Place
from orchestrator.manifest.text import UnreadableError

MAX_DEPTH = 50
_TOO_DEEP = f"nested over {MAX_DEPTH} levels deep"
#: More fields than any avatar has; keeps merges of merges small.
MAX_FIELDS = 1000
_TAG = "tag:yaml.org,2002:"
SCALAR_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
)
_KINDS = {MappingNode: "a mapping", SequenceNode: "a list", ScalarNode: "text"}

#: What to look for, by the parser's words.
_HINTS = {
    "cannot start any token": "; indent with spaces, not tabs, and quote texts that begin with @, ` or %",
    "mapping values are not allowed": "; quote texts that contain a colon, and look at the indentation",
    "block mapping": "; look at the indentation and the quotes here and just above",
    "block collection": "; look at the indentation and the quotes here and just above",
    "quoted scalar": "; look for a missing quote",
}

#: Key and value by the key's text.
Pairs: TypeAlias = dict[str, tuple[Node, Node]]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """The fast loader, made to give up on nesting that would overflow its stack.

    What its resolvers do otherwise is for tags by path, of which there are none here.
    """

    depth = 0

    def descend_resolver(self, current_node: Node | None, current_index: Any) -> None:
        """Count one level more; called by the parser for every node."""
        self.depth += 1
        if self.depth > MAX_DEPTH and current_node is not None:
            mark = current_node.start_mark
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Count one level less."""
        self.depth -= 1


def compose(text: str) -> Node | None:
    """The document in *text*; raises UnreadableError when it is not one YAML document."""
    try:
        root: Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place()
        raise UnreadableError(syntax_sentence(error), *place) from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"this is not YAML: {getattr(error, 'reason', 'unreadable')}") from None
    return root


def syntax_sentence(error: yaml.MarkedYAMLError) -> str:
    """What the parser's *error* says, and what to look for there."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if "exceeded maximum nesting depth" in said:  # the parser's own limit, met in `[[[[` before ours is asked
        said = _TOO_DEEP
    if "expected a single document" in said:
        return "a second YAML document (---) begins here; a manifest is one"
    begun = f" (begun in line {error.context_mark.line + 1})" if error.context_mark else ""
    hint = next((hint for words, hint in _HINTS.items() if words in said), "")
    return f"this is not YAML: {said}{begun}{hint}"


def place_of(node: Node) -> Place:
    """Line and column of *node*, from 1."""
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def kind_of(node: Node) -> str:
    """What *node* is, in words."""
    return _KINDS[type(node)]


def is_null(node: Node) -> bool:
    """True for `null`, `~` and nothing at all."""
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null"


def is_merge(key: Node) -> bool:
    """True for the key `<<`."""
    return bool(key.tag == _TAG + "merge")


def mappings_below(node: Node) -> Iterator[MappingNode]:
    """Every mapping in *node*, each once however many aliases lead to it."""
    waiting, seen = [node], {id(node)}
    while waiting:
        current = waiting.pop()
        if isinstance(current, MappingNode):
            yield current
            children = [value for _, value in current.value]
        else:
            children = current.value if isinstance(current, SequenceNode) else []
        new = {id(child): child for child in children if id(child) not in seen}
        seen |= new.keys()
        waiting += new.values()


class Merges:
    """What `<<` brings in, worked out once for each mapping of the document."""

    def __init__(self) -> None:
        self._known: dict[int, Pairs | None] = {}

    def brought_in_by(self, node: Node, above: int = 0) -> Pairs | None:
        """The pairs of `<<: *node`; of a list the first mapping counts first. None when it is no mapping."""
        pairs: Pairs = {}
        sources = node.value if isinstance(node, SequenceNode) else [node]
        for source in {id(source): source for source in sources}.values():
            brought = self._pairs_of(source, above + 1)
            if brought is None or len(pairs) > MAX_FIELDS:
                return None
            pairs = {**brought, **pairs}
        return pairs

    def _pairs_of(self, node: Node, above: int) -> Pairs | None:
        if not isinstance(node, MappingNode) or len(node.value) > MAX_FIELDS or above > MAX_DEPTH:
            return None
        if id(node) not in self._known:
            self._known[id(node)] = {}  # a mapping that merges itself brings nothing
            self._known[id(node)] = self._flattened(node, above)
        return self._known[id(node)]

    def _flattened(self, node: MappingNode, above: int) -> Pairs | None:
        pairs: Pairs = {}
        for key, value in reversed(node.value):
            if isinstance(key, ScalarNode) and not is_merge(key):
                pairs[key.value] = (key, value)
        for key, value in node.value:
            if is_merge(key):
                brought = self.brought_in_by(value, above)
                if brought is None:
                    return None
                pairs = {**brought, **pairs}
        return pairs
