"""Recalls over an archive: which search answers which question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..segments import Pictures
from .archive import Entry
from .policy import Cue
from .store import ArchiveStore


class Search(Protocol):
    """One way to find something in an archive."""

    wants_queries: bool

    def find(self, cue: Cue) -> list[Entry] | None:
        """What it finds, in the order of time; None where the question is not one for it."""
        ...


class ArchiveRecall:
    """Searches over one archive; the first that takes a question answers it. A `policy.Recall`."""

    def __init__(self, store: ArchiveStore, *searches: Search) -> None:
        """
        Args:
            store: that all `searches` look into.
        """
        self.store = store
        self._searches = searches
        self.wants_queries = any(search.wants_queries for search in searches)

    def seen(self, pictures: Pictures) -> None:
        """Pictures are archived when they leave the cache, not before."""

    def archived(self, entries: Sequence[Entry]) -> None:
        self.store.add(entries)

    def recall(self, cue: Cue) -> Sequence[Entry | Pictures]:
        for search in self._searches:
            found = search.find(cue)
            if found is not None:
                return found
        return []
