"""YAML manifests, read field by field so that every place is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.domain.entries import Place
from orchestrator.manifest.cells import is_number_as_text, is_suspect, read_cell
from orchestrator.manifest.fields import FIELDS, Draft, FieldRule, Shape, Value, unknown_field
from orchestrator.manifest.problems import quoted
from orchestrator.manifest.text import UnreadableError, read_text
from orchestrator.manifest.yaml_nodes import (
    MAX_FIELDS,
    SCALAR_TAGS,
    Merges,
    Pairs,
    compose,
    is_merge,
    is_null,
    kind_of,
    mappings_below,
    place_of,
)

HEAD_FIELDS = ("batch_name", "submit", "submit_requires", "ignore")
TOP_FIELDS = (*HEAD_FIELDS, "defaults", "avatars")
#: Up to this number they are named one by one; more are not typing errors.
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
        """The avatars in the order of the file."""
        for node in self._avatars:
            draft = Draft(file=self.head.file, start=place_of(node))
            _Reader(draft, self._merges).read_fields(node)
            yield draft


class _Reader:
    """Reads one mapping into a draft."""

    def __init__(self, draft: Draft, merges: Merges) -> None:
        self._draft = draft
        self._merges = merges
        self._places: dict[str, Place] = {}
        draft.places = self._places

    def read_fields(self, node: Node) -> None:
        """Read the fields of an avatar; a node that is no mapping breaks the draft."""
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
        """Read one field in the shape its rule asks for."""
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
        """The scalar as it is written: no octal numbers, no lost zeros, `no` stays `no`."""
        if not isinstance(node, ScalarNode):
            self._draft.report(f"must be text, not {kind_of(node)}", name, *inner, rule="M16")
            return None
        if node.tag not in SCALAR_TAGS:
            self._draft.report(f"the YAML tag {quoted(node.tag)} is not supported", name, *inner, rule="M16")
        return None if is_null(node) else self._undamaged(str(node.value), name, *inner)

    def _undamaged(self, text: str, name: str, *inner: str | int) -> str:
        """*text* as it was typed; a manifest that a program has made from a table shows what happened there."""
        stripped = text.strip()
        # Of what is inside a field nothing is an id or a phone number.
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
        """Keys and values of *node* with its merges (`<<`) below its own; reports keys given twice."""
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
        """Report keys given twice in a part that only holds anchors."""
        for mapping in mappings_below(node):
            self.pairs(mapping)
