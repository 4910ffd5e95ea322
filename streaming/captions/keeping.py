"""What of a viewer's stream stays in the model's memory. Loads torch."""

from __future__ import annotations

from ...models.vl.arena import ArenaFull
from .host import CaptionEvent
from .model import CaptionModel, Reader
from .viewer import Viewer


def forget(reader: Reader, viewer: Viewer) -> None:
    """At the end of a turn: let go of what the memory policy does not keep."""
    table, recall = viewer.stream.table, viewer.memory.recall
    kept = viewer.memory.window.keep(table)
    if len(kept) == len(table) and all(a is b for a, b in zip(kept, table, strict=True)):
        return
    viewer.counts.evictions += max(0, len(table) - len(kept))
    try:
        left = reader.rearrange(viewer.stream, kept, archive=recall is not None)
    except ArenaFull:
        # Forks hold what would have to be copied. They end soon; the next turn tries again.
        return
    if recall is not None and left:
        recall.archived(left)


def instruct(model: CaptionModel, viewer: Viewer) -> None:
    """Between two turns: put the viewer's new standing wish in the place of the old one, where the
    opening ends; all else stays."""
    wish, viewer.wish = viewer.wish, None
    reader, stream = model.reader, viewer.stream
    new = [words for words in model.dialect.opening(wish or "") if words.kind == "query"]
    others = [segment for segment in stream.table if segment.kind != "query"]
    try:
        reader.rearrange(stream, others)
        if not new:
            return
        reader.append([(stream, [*viewer.owed, *new])])
        viewer.owed = []
        asked = [segment for segment in stream.table if segment.kind == "query"]
        others = [segment for segment in stream.table if segment.kind != "query"]
        front = next((n for n, segment in enumerate(others) if segment.turn >= 0), len(others))
        reader.rearrange(stream, [*others[:front], *asked, *others[front:]])
    except ArenaFull:
        viewer.tell(CaptionEvent("error", "no room for another wish at the moment; try again"))
