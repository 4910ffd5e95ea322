"""`CausalDiT`: the causal Wan 2.1 video transformer, at any size, over explicit state.

With `stem=None` and `cond_channels=0` it is the released architecture, parameter names included
(Wan 2.1; made causal with one timestep per latent frame as in CausVid, Self-Forcing and
StreamDiffusionV2). A spec may join the live frame's latent to the input, as Wan's image-to-video
models do, and put convolutions around the transformer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as functional
from torch import Tensor

from ..kernels import conv2d
from .attention import Memory, OwnMemory, RingMemory, clip_memory, rotation
from .block import Block, Head, Reading, Steering, run_blocks
from .dit_state import DiTState, last_shape
from .layers import Linear, Stem, Tail, sinusoid
from .ring import RingView
from .specs import DiTSpec
from .windows import Windows


class CausalDiT(nn.Module):
    """Denoises a chunk of latent frames, given what the stream has shown before.

    All latents are [rows, frames, channels, height, width]; timesteps are 0..1000, one per frame;
    sigma is the share of noise, 0..1.
    """

    def __init__(self, spec: DiTSpec) -> None:
        super().__init__()
        self.spec = spec
        dim, stem = spec.dim, spec.stem
        channels = spec.in_channels + spec.cond_channels
        self.stem = None if stem is None else Stem(channels, stem, dim)
        inner = channels if stem is None else stem.width
        outer = spec.out_channels if stem is None else stem.width
        self.patch_embedding = nn.Conv3d(inner, dim, spec.patch, stride=spec.patch)
        self.text_embedding = nn.Sequential(
            nn.Linear(spec.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(Linear(spec.freq_dim, dim), nn.SiLU(), Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))
        self.head = Head(spec, outer)
        self.tail = None if stem is None else Tail(spec.out_channels, stem, dim)

    def channels_last(self) -> CausalDiT:
        """Lay the convolutions' weights out as their inputs are (faster); returns itself."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight.detach()
                module.weight.data = weight.contiguous(memory_format=torch.channels_last)
        return self

    def join_projections(self) -> CausalDiT:
        """See `SelfAttention.join`; for weights that stay where they are. Returns itself."""
        for block in self.blocks:
            cast(Block, block).self_attn.join()
        return self

    # -- memory ---------------------------------------------------------------------------------

    def init_state(
        self,
        rows: int,
        height: int,
        width: int,
        frames: int,
        device: torch.device | str,
        dtype: torch.dtype,
        prompts: bool = True,
    ) -> DiTState:
        """Memory for `rows` streams of latent frames `height` x `width`, `frames` to a chunk.

        Args:
            prompts: with room for each row's prompt; else `forward` must be given one.

        Raises:
            ValueError: the size is not a multiple of the patch.
        """
        size = (rows, frames, height, width)
        return DiTState.allocate(self.spec, size, device, dtype, prompts)

    @torch.no_grad()
    def set_context(self, state: DiTState, rows: Tensor, context: Tensor) -> None:
        """Give rows their prompt; it counts from the next `forward`.

        Args:
            rows: int64 [r] indices, or bool [rows] with r of them true.
            context: [r, text_len, text_dim].
        """
        index = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        prompt = self.read(context)
        for layer, (key, value) in enumerate(prompt.text):
            state.text_k[layer].index_copy_(0, index, key)
            state.text_v[layer].index_copy_(0, index, value)
        state.pooled.index_copy_(0, index, prompt.pooled)
        state.last.index_copy_(0, index, prompt.last)

    def read(self, context: Tensor) -> Reading:
        """A prompt as every block will see it, made once: context [rows, text_len, text_dim].

        Raises:
            ValueError: the context has another shape.
        """
        expected = (self.spec.text_len, self.spec.text_dim)
        if tuple(context.shape[1:]) != expected:
            raise ValueError(f"context is {tuple(context.shape[1:])} a row; expected {expected}")
        projected = self.text_embedding(context)
        text = [cast(Block, block).cross_attn.remember(projected) for block in self.blocks]
        pooled = projected.mean(1)
        if self.tail is None:
            return Reading(text, pooled, pooled.new_zeros(len(pooled), *last_shape(self.spec)))
        return Reading(text, pooled, self.tail.last_layer(pooled))

    # -- running --------------------------------------------------------------------------------

    @torch.no_grad()
    def forward(
        self,
        x: Tensor,
        t: Tensor,
        state: DiTState,
        mask: Tensor | None = None,
        cond: Tensor | None = None,
        cache: bool = True,
        first: bool = False,
        view: RingView | None = None,
        prompt: Reading | None = None,
    ) -> Tensor:
        """One pass over a chunk of every row.

        Writes the chunk's keys and values into the ring of the rows in `mask`; they become past
        with `state.ring.commit(mask)`, and another pass before that rewrites them.

        Args:
            x: [rows, frames, in_channels, height, width].
            t: [rows, frames].
            mask: bool [rows], rows that run; None for all. Others keep their state, and their
                output means nothing.
            cond: [rows, frames, cond_channels, height, width] if the spec has one.
            cache: False shows each chunk nothing but itself (to measure what memory is worth).
            first: the chunk begins its streams and may be longer than the others.
            view: from `state.ring.view`, when only some rows of the state run or some look less
                far back; x, t, mask, cond, prompt and the result then have these rows.
            prompt: from `read`, in place of what `set_context` gave the state.

        Returns:
            [rows, frames, out_channels, height, width]; flow or x0, as `spec.prediction` says.
        """
        memory: Memory
        if cache:
            assert self.spec.windows is None, "a ring knows no windows; they are for buffers"
            view = view or state.ring.view(x.shape[1], first)
            turn = rotation(self.spec, state.grid, view.positions, x.dtype)
            memory = RingMemory(state.ring, view, mask, turn)
        else:
            memory = self._own_memory(x, state.grid)
        if prompt is None:
            text = list(zip(state.text_k.unbind(0), state.text_v.unbind(0), strict=True))
            prompt = Reading(text, state.pooled, state.last)
        return self._run(x, t, prompt, memory, cond)

    def forward_clip(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        cond: Tensor | None = None,
        keep: Tensor | None = None,
        cache: bool = True,
        chunk: int = 1,
    ) -> Tensor:
        """A whole clip in one pass, differentiable: what streaming it chunk by chunk would give.

        Args:
            x: [rows, frames, in_channels, height, width]; every frame may have its own noise level.
            t: [rows, frames].
            context: [rows, text_len, text_dim].
            keep: bool [frames, frames]; false hides the column's frame from the row's (memory
                dropout). Visibility is per chunk and a chunk always sees itself.
            cache: False shows each chunk nothing but itself.
            chunk: latent frames that attend to one another freely.

        Returns:
            [rows, frames, out_channels, height, width].
        """
        frames, (height, width) = x.shape[1], x.shape[-2:]
        self.spec.tokens(height, width)
        grid = (height // self.spec.patch[1], width // self.spec.patch[2])
        if not cache:
            keep = torch.zeros(frames, frames, dtype=torch.bool)
        index = torch.arange(frames, device=x.device)[None]
        turn = rotation(self.spec, grid, index, x.dtype)
        memory = clip_memory(self.spec, frames, chunk, keep, turn)
        return self._run(x, t, self.read(context), memory, cond)

    def forward_buffer(self, x: Tensor, t: Tensor, prompt: Reading) -> Tensor:
        """Frames that all see one another and nothing else, differentiable: a moving buffer.

        Args:
            x: [rows, frames, in_channels, height, width]; every frame has its own noise level.
            t: [rows, frames].
            prompt: from `read`, of one row for each row of x or for each of its frames.

        Returns:
            [rows, frames, out_channels, height, width].
        """
        height, width = x.shape[-2:]
        self.spec.tokens(height, width)
        grid = (height // self.spec.patch[1], width // self.spec.patch[2])
        return self._run(x, t, prompt, self._own_memory(x, grid), None)

    def _own_memory(self, x: Tensor, grid: tuple[int, int]) -> OwnMemory:
        index, wanted = torch.arange(x.shape[1], device=x.device)[None], self.spec.windows
        turn = rotation(self.spec, grid, index, x.dtype)
        windows = None if wanted is None else Windows.fitted((x.shape[1], *grid), wanted)
        return OwnMemory(turn, windows)

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        prompt: Reading,
        memory: Memory,
        cond: Tensor | None,
    ) -> Tensor:
        if (cond is None) != (self.spec.cond_channels == 0):
            raise ValueError(f"this model takes a condition of {self.spec.cond_channels} channels")
        time = self.time_embedding(sinusoid(t, self.spec.freq_dim).to(x.dtype))
        modulation = self.time_projection(time).unflatten(-1, (6, -1))
        # One prompt a row, or one a frame.
        pooled = prompt.pooled.view(len(x), -1, self.spec.dim)
        film = functional.silu(time + pooled).flatten(0, 1)
        steering = Steering(time, modulation, film, prompt)
        image = x.flatten(0, 1)
        if cond is not None:
            image = torch.cat((image, cond.flatten(0, 1)), 1)
        net = self._net(image, steering, memory).unflatten(0, x.shape[:2])
        if self.spec.prediction == "x0" and cond is not None:
            return cond[:, :, : self.spec.out_channels] + net
        return net

    def _net(self, image: Tensor, steering: Steering, memory: Memory) -> Tensor:
        """[rows * frames, in, height, width] -> [rows * frames, out, height, width]."""
        # Channels last: the fast layout for convolutions on CPUs and GPUs alike.
        image = image.contiguous(memory_format=torch.channels_last)
        if self.stem is not None:
            image = self.stem(image, steering.film)
        tokens = self._patchify(image).unflatten(0, steering.time.shape[:2])
        blocks = cast(Sequence[Block], self.blocks)
        patches = run_blocks(blocks, self.head, tokens, steering, memory).flatten(0, 1)
        out = self._unpatchify(patches, image.shape[-2], image.shape[-1])
        if self.tail is not None:
            out = self.tail(image + out, steering.film, steering.prompt.last)
        return out

    def _patchify(self, image: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, tokens, dim]: the 3-D patch embedding, whose depth is one frame."""
        embed = self.patch_embedding
        size = self.spec.patch[1:]
        grid = conv2d(image, embed.weight, embed.bias, size, patches=True)
        return grid.flatten(2).transpose(1, 2)

    def _unpatchify(self, patches: Tensor, height: int, width: int) -> Tensor:
        """[B, tokens, ph * pw * C] -> [B, C, height, width], channels last."""
        _, ph, pw = self.spec.patch
        grid = patches.view(-1, height // ph, width // pw, ph, pw, patches.shape[-1] // (ph * pw))
        return grid.transpose(2, 3).reshape(-1, height, width, grid.shape[-1]).permute(0, 3, 1, 2)

    # -- the two views of an output -------------------------------------------------------------

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent that `output` stands for; sigma [rows, frames]."""
        if self.spec.prediction == "x0":
            return output
        return x - sigma[:, :, None, None, None] * output

    def to_flow(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """The flow (noise minus clean) that `output` stands for; sigma [rows, frames], above 0."""
        if self.spec.prediction == "flow":
            return output
        return (x - output) / sigma[:, :, None, None, None]
