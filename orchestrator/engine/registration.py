"""What a run found when it took its manifest into the journal."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.engine.events import Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The batch as the journal has it now."""

    totals: Totals
    undecided: dict[str, str] = field(default_factory=dict)  #: reason by entry id
    undecided_done: int = 0  #: of those, entries whose state alone would count as done
    removed: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()  #: failed reviews of which something was replaced, left alone
    earlier_manifest: str | None = None  #: the file that the batch was made from, where it was another
    invalid: frozenset[str] = frozenset()  #: skipped, as `--skip-invalid` wants it
    too_young: frozenset[str] = frozenset()  #: left for the next run: their files may still be written
    has_skipped_errors: bool = False
    #: Entries that a run leaves alone, whatever state they are in; None where all are meant.
    named: frozenset[str] | None = None
    warnings: tuple[str, ...] = ()  #: of the manifest and its files

    @property
    def held(self) -> Set[str]:
        """The entries that this run leaves alone."""
        return self.undecided.keys() | self.invalid | self.too_young
