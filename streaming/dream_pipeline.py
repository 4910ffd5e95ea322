"""The embedded text-to-video model as a pipeline: the moving buffer, a few streams at a time.

From words alone the source is a clock: of the frames that arrive only their number counts, and a
chunk of pictures is drawn for each chunk of them. A live picture enters the buffer under the noise
of a middle place (SDEdit, arXiv 2108.01073, as StreamDiT streams it, arXiv 2507.03745) and comes
out when it has moved through the places after that. All streams of one way share each forward.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ..models.autoencoder import PatchAutoencoder
from ..models.bring import bring
from ..models.buffer import MovingBuffer
from ..models.graphs import Graphs, Recorder, Tally
from ..models.scene import PLACES, SceneModel, scene_schedule
from .dream_info import HOLD, PICTURES, STEPS, VIDEO, drawn_size, dream_info, places_of
from .dream_looks import Job, Looks
from .dream_streams import Bank, Stream, Way, covering
from .dream_wishes import Wishes
from .moving import facts_of, facts_to_array
from .pipeline import Result, StreamConfig, Work
from .portable import put_array, to_array

IDLE_BANKS = 2
"""Ways without a stream whose memory is kept for the next one."""
FACTS = ("begun", "resets", "seed", "guidance", "text", "scene", "look", "done", "chunks", "notes")
TENSORS = ("context", "since", "entered")


class Dreaming:
    """Draws streams of pictures from words, or from live pictures and words.

    Args:
        looks: the second stage; None leaves looks to the first one, which knows none.
        streams: most streams of one way at a time.
        steps: denoising steps at each place of the buffer.
        random: whether the weights are random.
        recorder: records stages as graphs; None runs them as they are.
    """

    def __init__(
        self,
        model: SceneModel,
        autoencoder: PatchAutoencoder,
        *,
        looks: Looks | None = None,
        streams: int = 4,
        steps: int = STEPS,
        random: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        self.model, self.autoencoder, self.looks = model, autoencoder, looks
        self.tally, self._recorder = Tally(), recorder
        self._wishes = Wishes(model, looks)
        self.streams, self._steps = streams, steps
        self.info = dream_info(random)
        self.banks: dict[Way, Bank] = {}

    def stage_runs(self) -> Mapping[str, int]:
        """See `stage_runs.Staged`."""
        looks = Counter() if self.looks is None else self.looks.tally.counts
        return self.tally.counts + looks

    def told(self) -> tuple[str, ...]:
        """See `stage_runs.Staged`."""
        if self._recorder is None:
            return ()
        looks = () if self.looks is None else (f"looks: {self.looks.tally.told()}",)
        return (self.tally.told(), *looks)

    # -- the protocol ---------------------------------------------------------------------------

    def open(self, config: StreamConfig) -> Stream:
        size = (config.height, config.width)
        bank = self._bank(Way(drawn_size(size), PLACES))
        return Stream(size, bank, bank.free.pop(0))

    def close(self, stream: Stream) -> None:
        self._wishes.restyle(stream, "")
        stream.bank.give_back(stream.slot)
        self._drop_idle()

    def save(self, stream: Stream) -> dict[str, npt.NDArray[Any]]:
        """See `pipeline.Portable`."""
        arrays = {name: to_array(tensor) for name, tensor in stream.bank.rows(stream.slot)}
        held = {name: getattr(stream, name) for name in TENSORS}
        arrays |= {name: to_array(tensor) for name, tensor in held.items() if tensor is not None}
        if stream.styled is not None and self.looks is not None:
            styled = self.looks.save(stream.styled)
            arrays |= {f"look/{name}": array for name, array in styled.items()}
        way, facts = stream.bank.way, {name: getattr(stream, name) for name in FACTS}
        facts |= {"places": way.places, "live": way.live, "flight": list(stream.flight)}
        return {**arrays, "facts": facts_to_array(facts)}

    @torch.inference_mode()
    def load(self, config: StreamConfig, saved: Mapping[str, npt.NDArray[Any]]) -> Stream:
        """See `pipeline.Portable`."""
        facts, stream = dict(facts_of(saved["facts"])), self.open(config)
        way = replace(stream.bank.way, places=facts.pop("places"), live=facts.pop("live"))
        if way != stream.bank.way:
            stream.move(self._bank(way))
        for name, tensor in stream.bank.rows(stream.slot):
            put_array(saved[name], tensor)
        like = stream.bank.chunks.x
        for name in set(TENSORS) & set(saved):
            held = torch.empty(saved[name].shape, dtype=like.dtype, device=like.device)
            put_array(saved[name], held)
            setattr(stream, name, held)
        stream.flight = deque(facts.pop("flight"))
        for name, value in facts.items():
            setattr(stream, name, value)
        if stream.look and self.looks is not None:
            own = {n.removeprefix("look/"): a for n, a in saved.items() if n.startswith("look/")}
            stream.styled = self.looks.load(self.looks.drawn_for(stream.size), own)
        return stream

    @torch.inference_mode()
    def step(self, batch: Sequence[Work]) -> list[Result]:
        results: list[Result] = []
        for work in batch:
            results += self._settle(work)
        for bank in dict.fromkeys(work.stream.bank for work in batch):
            works = [work for work in batch if work.stream.bank is bank]
            works.sort(key=lambda work: work.stream.slot)
            for work in works:
                if work.frames is not None:
                    self._wishes.heed(work.stream, work.controls)
            results += self._lived(bank, works) if bank.way.live else self._dreamt(bank, works)
        return results

    def _graphs(self) -> Graphs | None:
        return None if self._recorder is None else Graphs(self._recorder, self.tally)

    # -- places ---------------------------------------------------------------------------------

    def _bank(self, way: Way) -> Bank:
        """Memory with room for one more stream."""
        bank = self.banks.pop(way, None)
        if bank is None:
            self._drop_idle()
            # Euler's way through the levels, whatever the model predicts: it is not distilled.
            buffer = MovingBuffer(
                self.model.dit,
                scene_schedule(self._steps, way.places),
                "euler",
                "entering",
                self.model.denoise,
                self.model.context(self.model.tokens([""]))[0],
            )
            with torch.inference_mode(False):
                own = (way, self.model, buffer, self.autoencoder, self.streams)
                bank = Bank(*own, self._graphs())
        self.banks[way] = bank  # the last one is the one used last
        if not bank.free:
            raise RuntimeError(
                f"all {self.streams} streams of {way.size[1]}x{way.size[0]} are in use; "
                "close one or start with a larger --max-sessions"
            )
        return bank

    def _drop_idle(self) -> None:
        idle = [way for way, bank in self.banks.items() if bank.idle]
        for way in idle[: len(idle) - IDLE_BANKS]:
            del self.banks[way]

    def _settle(self, work: Work) -> list[Result]:
        """Before a chunk: forget when asked to, and go where it is drawn in the way that is wanted.
        What is in flight comes out of the old place first."""
        stream, controls = work.stream, work.controls
        if work.frames is None:
            return []  # a flush changes nothing
        live = controls.text("mode") == VIDEO
        places = places_of(controls.number("strength")) if live else PLACES
        way = replace(stream.bank.way, places=places, live=live)
        if controls.resets == stream.resets and way == stream.bank.way:
            return []
        results: list[Result] = []
        while any(index is not None for index in stream.flight):
            results += self._lived(stream.bank, [replace(work, frames=None)])
        stream.resets, stream.begun = controls.resets, False
        if way != stream.bank.way:
            stream.move(self._bank(way))
        return results

    # -- drawing --------------------------------------------------------------------------------

    def _dreamt(self, bank: Bank, works: Sequence[Work]) -> list[Result]:
        """From noise alone. Nothing is ever in flight for the engine: each chunk of the clock
        gets the oldest chunk of the buffer."""
        given = [work for work in works if work.frames is not None]
        new = [work for work in given if not work.stream.begun]
        if new:
            slots, seeds = self._renewed(bank, new)
            bank.buffer.begin(bank.chunks, slots, seeds)
            self._advanced(bank, new, bank.buffer.warmup)
        if not given:
            return []
        return self._shown(bank, given, self._advanced(bank, given, self._steps))

    def _lived(self, bank: Bank, works: Sequence[Work]) -> list[Result]:
        """From live pictures: what comes out entered some chunks ago. Where none comes (a flush),
        the last one enters again, to fill."""
        given = [work for work in works if work.frames is not None]
        for work, latents in zip(given, self._seen(bank, given), strict=True):
            work.stream.entered = latents
        new = [work for work in given if not work.stream.begun]
        going = [work for work in works if work.stream.begun]
        if new:
            # As if the picture had stood still until now.
            slots, seeds = self._renewed(bank, new)
            still = torch.stack([work.stream.entered for work in new])
            known = still.repeat(1, PLACES - bank.way.places, 1, 1, 1)
            flying = still.repeat(1, bank.way.places, 1, 1, 1)
            bank.buffer.begin(bank.chunks, slots, seeds, flying, known)
            for work in new:
                work.stream.flight = deque([None] * (bank.way.places - 1) + [work.index])
        if not going:
            return []
        latents = self._advanced(bank, going, self._steps)
        done, kept = [], []
        for work, its in zip(going, latents, strict=True):
            index = work.stream.flight.popleft()
            work.stream.flight.append(None if work.frames is None else work.index)
            if index is not None:
                done.append(replace(work, index=index))
                kept.append(its)
        return self._shown(bank, done, torch.stack(kept)) if done else []

    def _seen(self, bank: Bank, works: Sequence[Work]) -> list[Tensor]:
        """Live pictures of the frames that are drawn, as measured latents [c, channels, h, w]."""
        if not works:
            return []
        weight = self.autoencoder.basis.weight
        frames = [work.frames for work in works if work.frames is not None]
        pictures = [covering(part[::HOLD].to(weight), bank.way.size) for part in frames]
        latents = bank.encode(torch.stack(pictures))
        works[0].mark("encode", len(works), None)
        return list(latents)

    def _renewed(self, bank: Bank, new: Sequence[Work]) -> tuple[Tensor, Tensor]:
        """Slots and seeds of streams whose decoder begins anew."""
        device = bank.chunks.x.device
        slots = bring(torch.tensor([work.stream.slot for work in new]), device)
        seeds = bring(torch.tensor([work.stream.seed for work in new]), device)
        mask = torch.zeros(bank.slots, dtype=torch.bool, device=device)
        bank.pictures.reset(mask.index_fill(0, slots, True))
        for work in new:
            work.stream.begun = True
        return slots, seeds

    def _advanced(self, bank: Bank, works: Sequence[Work], steps: int) -> Tensor:
        """All of these by some steps; the oldest chunk of each as it is then. Those whose words are
        to be followed strictly cost twice as much, so they go apart."""
        found: dict[int, Tensor] = {}
        for strict in (False, True):
            group = [work for work in works if (work.stream.guidance != 1) == strict]
            if not group:
                continue
            slots = [work.stream.slot for work in group]
            scales = [work.stream.guidance for work in group]
            device = bank.chunks.x.device
            guidance = bring(torch.tensor(scales), device) if strict else None
            source = self._entering(group) if bank.way.live else None
            stepped = partial(works[0].mark, "pass", len(group) * (1 + strict), None)
            latents = bank.advance(slots, steps, stepped, source=source, guidance=guidance)
            found |= dict(zip(slots, latents, strict=True))
        return torch.stack([found[work.stream.slot] for work in works])

    def _entering(self, works: Sequence[Work]) -> Tensor:
        return torch.stack([work.stream.entered for work in works])

    def _shown(self, bank: Bank, works: Sequence[Work], latents: Tensor) -> list[Result]:
        """Finished latents as what the viewers see."""
        decoded = bank.decode([work.stream.slot for work in works], latents)
        drawn = self._looked(works, decoded)
        works[0].mark("decode", len(works), None)
        results = []
        for work, pictures in zip(works, drawn, strict=True):
            frames = covering(pictures, work.stream.size).repeat_interleave(HOLD, 0)
            results.append(work.done(frames, **work.stream.notes))
        return results

    def _looked(self, works: Sequence[Work], pictures: Tensor) -> list[Tensor]:
        """Pictures after the second stage, for those who want one."""
        drawn = list(pictures)
        if self.looks is None:
            return drawn
        jobs: dict[int, Job] = {}
        for place, work in enumerate(works):
            stream, controls = work.stream, work.controls
            if stream.styled is not None:
                wish = self.looks.controls(
                    stream.look, controls.number("look"), stream.seed, controls.resets
                )
                given = covering(drawn[place], self.looks.drawn_for(stream.size))
                jobs[place] = Job(stream.styled, work.index * PICTURES, given, wish)
        for place, looked in zip(jobs, self.looks.draw(list(jobs.values())), strict=True):
            drawn[place] = looked.to(pictures.dtype)
        return drawn
