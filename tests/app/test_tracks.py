"""The two ends of the media path: fitting pictures, taking the newest, leaving in time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError
from hypothesis import given, settings
from hypothesis import strategies as st
from millrace.app.colour import WEBRTC, Colour
from millrace.app.tracks import Counts, Inbound, OutTrack, Sent, centre_crop, fit_i420
from millrace.streaming.clock import ManualClock, SystemClock
from millrace.streaming.frames import Frame, i420_shape
from millrace.streaming.host import Output
from millrace.streaming.pacing import Pacer
from millrace.streaming.pipeline import StreamConfig

SIDES = st.integers(2, 400)
EVEN = st.integers(1, 100).map(lambda n: 2 * n)


@given(SIDES, SIDES, EVEN, EVEN)
def test_the_crop_lies_inside_and_has_the_wanted_aspect(w: int, h: int, tw: int, th: int) -> None:
    x, y, cw, ch = centre_crop(w, h, tw, th)
    assert 0 <= x and x + cw <= w and 0 <= y and y + ch <= h
    assert not (x | y | cw | ch) & 1
    assert cw >= (w & ~1) or ch >= (h & ~1), "it reaches two opposite edges"
    assert abs(cw * th - ch * tw) <= 2 * max(tw, th), "within one chroma sample"


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, EVEN, EVEN)
def test_any_picture_fits_any_size(w: int, h: int, tw: int, th: int) -> None:
    planes = fit_i420(av.VideoFrame(w, h, "yuv420p"), WEBRTC, tw, th)
    assert planes.shape == i420_shape(tw, th) and planes.dtype == np.uint8


def test_the_middle_stays_in_the_middle() -> None:
    planes = np.full(i420_shape(640, 480), 128, np.uint8)
    planes[:480] = 40
    planes[200:280, 280:360] = 200
    luma = fit_i420(av.VideoFrame.from_ndarray(planes, "yuv420p"), WEBRTC, 256, 256)[:256]
    rows, columns = np.nonzero(luma > 120)
    assert abs(rows.mean() - 127.5) < 1 and abs(columns.mean() - 127.5) < 1
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2), "no stretching"


def test_full_range_pictures_become_limited_range() -> None:
    planes = np.full(i420_shape(64, 64), 128, np.uint8)
    planes[:64] = 255
    picture = av.VideoFrame.from_ndarray(planes, "yuvj420p")
    assert fit_i420(picture, Colour.of(picture), 64, 64)[:64].max() <= 236


class Queued:
    """A track with decoded pictures waiting, like aiortc's."""

    def __init__(self, pictures: list[Any]) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        for picture in pictures:
            self._queue.put_nowait(picture)

    async def recv(self) -> Any:
        item = await self._queue.get()
        if item is None:
            raise MediaStreamError
        return item


def test_of_the_pictures_that_wait_the_newest_is_taken() -> None:
    pictures = []
    for pts in range(6):
        picture = av.VideoFrame(32, 32, "yuv420p")
        picture.pts = pts
        pictures.append(picture)
    taken: list[Frame] = []
    config = StreamConfig(32, 32)
    session: Any = SimpleNamespace(config=config, put=taken.append)
    counts = Counts()

    async def scenario() -> None:
        track: Any = Queued(pictures)
        with ThreadPoolExecutor(1) as pool:
            pump = asyncio.ensure_future(Inbound(session, SystemClock(), pool, counts).run(track))
            while not taken:
                await asyncio.sleep(0)
            track._queue.put_nowait(None)
            await pump

    asyncio.run(scenario())
    assert [frame.pts for frame in taken] == [5]
    assert counts.received == 1 and counts.drops["ingest"] == 5


def output(index: int, at: float, level: int = 100) -> Output:
    planes = np.full(i420_shape(16, 16), level, np.uint8)
    return Output(Frame(planes, 16, 16, index * 3000, at, index), 0, at)


def test_pictures_are_stamped_with_the_time_they_leave() -> None:
    clock, counts = ManualClock(100.0), Counts()
    sent: list[Sent] = []
    track = OutTrack(clock, counts, Pacer(30.0, 1), sent.append)

    async def scenario() -> list[int]:
        stamps = []
        for i, wait in enumerate((0.0, 0.04, 0.03)):
            clock.advance(wait)
            track.offer(output(i, clock.now()))
            stamps.append((await track.recv()).pts or 0)
        clock.advance(0.6)
        stamps.append((await track.recv()).pts or 0)
        return stamps

    stamps = asyncio.run(scenario())
    assert stamps == pytest.approx([0, 3600, 6300, 60300], abs=1)
    assert [type(s) for s in sent] == [Sent] * 3, "a repeated picture has no stamp"
    assert counts.sent == 3 and counts.repeated == 1


def test_two_pictures_never_share_a_stamp() -> None:
    clock = ManualClock()
    track = OutTrack(clock, Counts(), Pacer(30.0, 1), lambda sent: None)

    async def scenario() -> tuple[int, int]:
        track.offer(output(0, 0.0))
        first = (await track.recv()).pts or 0
        track.offer(output(1, 0.0))
        return first, (await track.recv()).pts or 0

    first, second = asyncio.run(scenario())
    assert second == first + 1


def test_a_stopped_track_ends_whoever_waits_for_it() -> None:
    async def scenario() -> None:
        track = OutTrack(SystemClock(), Counts(), Pacer(30.0, 1), lambda sent: None)
        waiting = asyncio.ensure_future(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await waiting

    asyncio.run(scenario())
