"""A session's things in one parcel, for its move to another device. No torch here.

A parcel is what the pipeline remembers of the stream (`pipeline.Portable`) and what the engine
does: the chunk that comes next, the frames that still wait, the last picture, its counts. It
travels as a file of plain arrays; nothing in it is executed when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .frames import Frame
from .pipeline import Pipeline, Portable, StreamConfig
from .session import EngineSession

Arrays = dict[str, npt.NDArray[Any]]
STREAM = "stream/"
"""Before the names of the pipeline's own arrays."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one session is.

    Attributes:
        facts: numbers and texts, as JSON knows them.
        arrays: the rest, by name.
    """

    facts: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())

    def frames(self, config: StreamConfig) -> list[Frame]:
        """The frames that were waiting, oldest first."""
        return [
            Frame(self.arrays[f"frame/{i}"], config.width, config.height, pts, captured_at, index)
            for i, (pts, captured_at, index) in enumerate(self.facts["frames"])
        ]

    def write(self, path: Path) -> None:
        """Into a file that exists.

        Raises:
            OSError: no room.
        """
        named: Arrays = {f"a/{name}": array for name, array in self.arrays.items()}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, facts=facts_to_array(self.facts), **named)

    @staticmethod
    def read(path: Path) -> Parcel:
        """
        Raises:
            OSError, ValueError, KeyError: there is no such file, or it is no parcel.
        """
        with np.load(path, allow_pickle=False) as file:
            facts = facts_of(file["facts"])
            arrays = {name[2:]: file[name] for name in file.files if name.startswith("a/")}
        return Parcel(facts, arrays)


def facts_to_array(facts: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Numbers and texts as one array."""
    return np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8).copy()


def facts_of(array: npt.NDArray[Any]) -> dict[str, Any]:
    """What `facts_to_array` was given."""
    facts: dict[str, Any] = json.loads(array.tobytes())
    return facts


def portable(pipeline: Pipeline) -> bool:
    """Whether the pipeline's streams can move to another device."""
    return isinstance(pipeline, Portable)


def pack(pipeline: Pipeline, session: EngineSession) -> Parcel:
    """All that is known of a session with nothing in flight. It loses the frames that wait."""
    assert isinstance(pipeline, Portable) and not session.in_flight
    arrays: Arrays = {STREAM + k: v for k, v in pipeline.save(session.stream).items()}
    waiting = session.mailbox.take_rest()
    arrays |= {f"frame/{i}": frame.planes for i, frame in enumerate(waiting)}
    if session.last_planes is not None:
        arrays["picture"] = session.last_planes
    reference, numbers = session.filter.remembered()
    if reference is not None:
        arrays["reference"] = reference
    facts = {
        "next_index": session.next_index,
        "interval": session.interval,
        "last_take": session.last_take,
        "holding": session.holding,
        "notes": dict(session.notes),
        "filter": numbers,
        "counts": session.telemetry.counts(session.mailbox.superseded),
        "frames": [(frame.pts, frame.captured_at, frame.index) for frame in waiting],
    }
    return Parcel(facts, arrays)


def unpack(pipeline: Pipeline, session: EngineSession, parcel: Parcel) -> Any:
    """Make a new record of a session what the parcel says; returns its stream."""
    assert isinstance(pipeline, Portable)
    facts, arrays = parcel.facts, parcel.arrays
    own = {k.removeprefix(STREAM): v for k, v in arrays.items() if k.startswith(STREAM)}
    stream = pipeline.load(session.config, own)
    session.next_index = facts["next_index"]
    session.interval, session.last_take = facts["interval"], facts["last_take"]
    session.holding, session.notes = facts["holding"], facts["notes"]
    session.telemetry.go_on(facts["counts"])
    session.last_planes = arrays.get("picture")
    session.filter.remember(arrays.get("reference"), facts["filter"])
    # What came here while the parcel was on its way is newer than what it holds.
    newer = session.mailbox.take_rest()
    for frame in (*parcel.frames(session.config), *newer):
        session.mailbox.put(frame)
    session.parcel = None
    return stream
