"""YAML manifests, read field by field to keep the place of each, with limits that protect against hostile files.

The C parser composes nodes, which are never converted to Python objects as a whole. Fields that are not in the
model are reported, not followed, so aliases to aliases cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.entries import Place
from orchestrator.manifest.cells import is_number_as_text, is_suspect, read_cell
from orchestrator.manifest.fields import FIELDS, Draft, FieldRule, Shape, Value, unknown_field
from orchestrator.manifest.problems import quoted
from orchestrator.manifest.text import UnreadableError, read_text

MAX_DEPTH = 50
_TOO_DEEP = f"nested over {MAX_DEPTH} levels deep"
#: More fields than any avatar has; the limit keeps merges of merges small.
MAX_FIELDS = 1000
_TAG = "tag:yaml.org,2002:"
SCALAR_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
)
_KINDS = {MappingNode: "a mapping", SequenceNode: "a list", ScalarNode: "text"}

#: Hints for the user by the words of the parser's message.
_HINTS = {
    "cannot start any token": "; indent with spaces, not tabs, and quote texts that begin with @, ` or %",
    "mapping values are not allowed": "; quote texts that contain a colon, and look at the indentation",
    "block mapping": "; look at the indentation and the quotes here and just above",
    "block collection": "; look at the indentation and the quotes here and just above",
    "quoted scalar": "; look for a missing quote",
}

#: Key and value by the key's text.
Pairs: TypeAlias = dict[str, tuple[Node, Node]]

HEAD_FIELDS = ("batch_name", "submit", "submit_requires", "ignore")
TOP_FIELDS = (*HEAD_FIELDS, "defaults", "avatars")
#: Up to this number unknown fields are reported one by one; more are not typing errors.
MAX_UNKNOWN_FIELDS = 20
_TEXT = FieldRule(Shape.TEXT)


class YamlSource:
    """A YAML manifest as drafts; raises UnreadableError when it is not YAML."""

    def __init__(self, path: Path) -> None:
        self.head = Draft(file=str(path), start=Place(1, 1))
        self.defaults = Draft(file=str(path), start=Place(1, 1))
        self._merges = Merges()
        self._avatars: list[Node] = []
        self._read_top(compose(read_text(path)))

    def _read_top(self, root: Node | None) -> None:
        if not isinstance(root, MappingNode):
            raise UnreadableError("the manifest must be a mapping with the field avatars", 1, 1)
        reader = _Reader(self.head, self._merges)
        for name, (key, value) in reader.pairs(root).items():
            if name in HEAD_FIELDS:
                reader.read_field(FIELDS.get(name, _TEXT), name, value)
            elif name == "defaults":
                self.defaults.start = place_of(value)
                if not is_null(value):
                    _Reader(self.defaults, self._merges).read_fields(value)
            elif name == "avatars" and isinstance(value, SequenceNode):
                self._avatars = value.value
            elif name == "avatars":
                if not is_null(value):
                    message = f"must be a list, not {kind_of(value)}"
                    self.head.report(message, "avatars", rule="M16", place=place_of(value))
            elif name.startswith("x-"):
                reader.check_anchors(value)
            else:
                self.head.report(unknown_field(name, TOP_FIELDS), name, rule="M02", place=place_of(key))

    def drafts(self) -> Iterator[Draft]:
        """Yield the avatars in the order of the file."""
        for node in self._avatars:
            draft = Draft(file=self.head.file, start=place_of(node))
            _Reader(draft, self._merges).read_fields(node)
            yield draft


class _Reader:
    """Reader of one mapping into a draft."""

    def __init__(self, draft: Draft, merges: Merges) -> None:
        self._draft = draft
        self._merges = merges
        self._places: dict[str, Place] = {}
        draft.places = self._places

    def read_fields(self, node: Node) -> None:
        """Read the fields of an avatar; a node that is not a mapping makes the draft broken."""
        if not isinstance(node, MappingNode):
            self._draft.report(
                f"must be a mapping of fields, not {kind_of(node)}", rule="M16", place=place_of(node)
            )
            self._draft.is_broken = True
            return
        unknown: list[Node] = []
        for name, (key, value) in self.pairs(node).items():
            if name in FIELDS:
                self.read_field(FIELDS[name], name, value)
            else:
                unknown.append(key)
        for key in unknown[:MAX_UNKNOWN_FIELDS]:
            self._draft.report(unknown_field(key.value), key.value, rule="M02", place=place_of(key))
        for key in unknown[MAX_UNKNOWN_FIELDS : MAX_UNKNOWN_FIELDS + 1]:
            count = len(unknown) - MAX_UNKNOWN_FIELDS
            self._draft.report(
                f"there are {count} more unknown fields", key.value, rule="M02", place=place_of(key)
            )

    def read_field(self, rule: FieldRule, name: str, node: Node) -> None:
        """Read one field in the shape that its rule requires."""
        self._places[name] = place_of(node)
        match rule.shape:
            case _ if is_null(node):
                value: Value = None
            case Shape.LIST if isinstance(node, SequenceNode):
                for index, item in enumerate(node.value):
                    self._places[f"{name}.{index}"] = place_of(item)
                value = [self._text(item, name, index) or "" for index, item in enumerate(node.value)]
            case Shape.LIST:
                self._draft.report(f"must be a list such as [a, b], not {kind_of(node)}", name, rule="M16")
                value = []
            case Shape.GROUP:
                value = self._group(rule.members, name, node)
            case _:
                value = self._text(node, name)
        self._draft.values[name] = value

    def _group(self, members: Mapping[str, FieldRule], name: str, node: Node) -> Value:
        if not isinstance(node, MappingNode):
            self._draft.report(
                f"must be a mapping of {', '.join(members)}, not {kind_of(node)}", name, rule="M16"
            )
            return None
        group: dict[str, str | None] = {}
        for member, (key, value) in self.pairs(node, name).items():
            self._places[f"{name}.{member}"] = place_of(value)
            if member in members:
                group[member] = self._text(value, name, member)
            else:
                self._draft.report(
                    unknown_field(member, members), name, member, rule="M02", place=place_of(key)
                )
        return group

    def _text(self, node: Node, name: str, *inner: str | int) -> str | None:
        """Return the scalar as written: no octal numbers, no lost zeros, and `no` stays `no`."""
        if not isinstance(node, ScalarNode):
            self._draft.report(f"must be text, not {kind_of(node)}", name, *inner, rule="M16")
            return None
        if node.tag not in SCALAR_TAGS:
            self._draft.report(f"the YAML tag {quoted(node.tag)} is not supported", name, *inner, rule="M16")
        return None if is_null(node) else self._undamaged(str(node.value), name, *inner)

    def _undamaged(self, text: str, name: str, *inner: str | int) -> str:
        """Return *text* without damage by a spreadsheet, which a manifest generated from a table may contain."""
        stripped = text.strip()
        # The name of the outer field is enough: no field inside another is an id or a phone number.
        if not stripped or not is_suspect(name, stripped):
            return text
        column = ".".join([name, *(part for part in inner if isinstance(part, str))])
        cell = read_cell(column, stripped)
        is_kept = cell.text == stripped
        if cell.complaint is None or not (cell.is_error or is_kept or is_number_as_text(column)):
            return text
        (self._draft.report if cell.is_error else self._draft.warn)(cell.complaint, name, *inner, rule="M11")
        return text if is_kept else cell.text

    def pairs(self, node: MappingNode, *names: str) -> Pairs:
        """Return the keys and values of *node*; its own override merged ones (`<<`). Reports keys given twice."""
        if len(node.value) > MAX_FIELDS:
            self._draft.report(f"has over {MAX_FIELDS} fields", *names, rule="M16", place=place_of(node))
            self._draft.is_broken = True
            return {}
        own: Pairs = {}
        merged: Pairs = {}
        for key, value in node.value:
            if is_merge(key):
                brought = self._merges.brought_in_by(value)
                if brought is None:
                    message = "takes a mapping or a list of mappings"
                    self._draft.report(message, "<<", rule="M16", place=place_of(value))
                merged = {**(brought or {}), **merged}
            elif self._is_new(key, own, names):
                own[key.value] = (key, value)
        return {**merged, **own}

    def _is_new(self, key: Node, own: Pairs, names: tuple[str, ...]) -> bool:
        if not isinstance(key, ScalarNode):
            self._draft.report(
                f"a field's name must be text, not {kind_of(key)}",
                *(names or ("?",)),
                rule="M16",
                place=place_of(key),
            )
            return False
        if key.value not in own:
            return True
        first = place_of(own[key.value][0]).line
        self._draft.report(
            f"is given twice, first in line {first}", *names, key.value, rule="M15", place=place_of(key)
        )
        return False

    def check_anchors(self, node: Node) -> None:
        """Report keys given twice in a part of the document that only contains anchors."""
        for mapping in mappings_below(node):
            self.pairs(mapping)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """The fast loader with an error for nesting that would overflow its stack.

    The overridden methods are for tags by path, which are not used here.
    """

    depth = 0

    def descend_resolver(self, current_node: Node | None, current_index: Any) -> None:
        """Add one level of depth; called by the parser for every node."""
        self.depth += 1
        if self.depth > MAX_DEPTH and current_node is not None:
            mark = current_node.start_mark
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)

    def ascend_resolver(self) -> None:
        """Remove one level of depth."""
        self.depth -= 1


def compose(text: str) -> Node | None:
    """Return the root node of *text*; raises UnreadableError when it is not one YAML document."""
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
    """Return the parser's *error* as a sentence, with a hint for the user."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    if "exceeded maximum nesting depth" in said:  # the parser's own limit, which `[[[[` reaches before ours
        said = _TOO_DEEP
    if "expected a single document" in said:
        return "a second YAML document (---) begins here; a manifest is one"
    begun = f" (begun in line {error.context_mark.line + 1})" if error.context_mark else ""
    hint = next((hint for words, hint in _HINTS.items() if words in said), "")
    return f"this is not YAML: {said}{begun}{hint}"


def place_of(node: Node) -> Place:
    """Return the line and column of *node*, from 1."""
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def kind_of(node: Node) -> str:
    """Return the kind of *node* in words."""
    return _KINDS[type(node)]


def is_null(node: Node) -> bool:
    """Return True for `null`, `~` and an empty value."""
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null"


def is_merge(key: Node) -> bool:
    """Return True for the key `<<`."""
    return bool(key.tag == _TAG + "merge")


def mappings_below(node: Node) -> Iterator[MappingNode]:
    """Yield every mapping in *node* once, however many aliases refer to it."""
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
    """The pairs merged by `<<`, computed once for each mapping of the document."""

    def __init__(self) -> None:
        self._known: dict[int, Pairs | None] = {}

    def brought_in_by(self, node: Node, above: int = 0) -> Pairs | None:
        """Return the pairs of `<<: *node`; in a list, earlier mappings take precedence. None for invalid nodes."""
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
            self._known[id(node)] = {}  # a mapping that merges itself adds nothing
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
