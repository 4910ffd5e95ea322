"""The decoder over a stream and its forks without the pairs that see nothing of each other.

The same function as `Decoder.forward` under the mask of the whole (a test compares them), in a
fifth of the time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...vl.decoder import Attention, Decoder, DecoderLayer
from ...vl.rotary import rotate

_HIDDEN = -1e4


class Seen:
    """Who sees whom, as terms to add to scores.

    Args:
        stream: bool [S, S].
        forks: bool [N, S], what each token of a fork sees of the stream.
        owner: int64 [N], the fork of each token, ascending from 0.
    """

    def __init__(self, stream: Tensor, forks: Tensor, owner: Tensor, dtype: torch.dtype) -> None:
        self.stream = torch.zeros(stream.shape, dtype=dtype).masked_fill_(~stream, _HIDDEN)
        self.forks = torch.zeros(forks.shape, dtype=dtype).masked_fill_(~forks, _HIDDEN)
        counts = torch.bincount(owner)
        self.count, self.longest = len(counts), int(counts.max())
        starts = counts.cumsum(0) - counts
        step = torch.arange(len(owner)) - starts[owner]
        self.slot = owner * self.longest + step
        """Place of each fork's token in [forks, longest], flattened."""
        future = torch.ones(self.longest, self.longest, dtype=torch.bool).triu_(1)
        self.own = torch.zeros(future.shape, dtype=dtype).masked_fill_(future, _HIDDEN)

    def spread(self, x: Tensor) -> Tensor:
        """[N, ...] of the forks' tokens -> [forks, longest, ...], zero where there is none."""
        room = x.new_zeros(self.count * self.longest, *x.shape[1:])
        return room.index_copy(0, self.slot, x).unflatten(0, (self.count, self.longest))


def _attend(query: Tensor, key: Tensor, value: Tensor, seen: Seen) -> Tensor:
    """query [L, heads, d]; key, value [L, kv_heads, d]; rotated -> [L, heads * d]."""
    length, kv_heads = len(seen.stream), key.shape[1]
    query = query * query.shape[-1] ** -0.5
    # [kv_heads, group, L, d]: the queries of a group share keys.
    query = query.unflatten(1, (kv_heads, -1)).permute(1, 2, 0, 3)
    keys, values = key.transpose(0, 1)[:, None], value.transpose(0, 1)[:, None]
    past, past_values = keys[:, :, :length], values[:, :, :length]
    scores = query[:, :, :length] @ past.transpose(-1, -2) + seen.stream
    out = scores.softmax(-1) @ past_values
    asked = query[:, :, length:]
    of_stream = asked @ past.transpose(-1, -2) + seen.forks
    spread = seen.spread(asked.permute(2, 0, 1, 3)).permute(2, 3, 0, 1, 4)
    own_keys = seen.spread(key[length:]).permute(2, 0, 1, 3)[:, None]
    own_values = seen.spread(value[length:]).permute(2, 0, 1, 3)[:, None]
    of_own = (spread @ own_keys.transpose(-1, -2) + seen.own).flatten(2, 3)[:, :, seen.slot]
    share = torch.cat((of_stream, of_own), -1).softmax(-1)
    from_stream = share[..., :length] @ past_values
    own_share = share[..., length:].permute(2, 0, 1, 3)
    own_share = seen.spread(own_share).permute(2, 3, 0, 1, 4)
    from_own = (own_share @ own_values).flatten(2, 3)[:, :, seen.slot]
    out = torch.cat((out, from_stream + from_own), 2)
    return out.permute(2, 0, 1, 3).flatten(1)


def packed_hidden(
    text: Decoder, embeds: Tensor, positions: Tensor, seen: Seen, tap: list[Tensor] | None = None
) -> Tensor:
    """Normalised hidden states [L, dim] of a stream's tokens and then its forks'.

    Args:
        embeds: [L, dim].
        positions: [3, L].
        tap: is given the states after half of the layers, [L, dim].
    """
    turn = text.turns(positions[:, None])
    x = embeds[None]
    for index, layer in enumerate(text.model.layers):
        assert isinstance(layer, DecoderLayer)
        if tap is not None and index == len(text.model.layers) // 2:
            tap.append(x[0])
        attention: Attention = layer.self_attn
        query, key, value = attention.project(layer.input_layernorm(x))
        query, key = rotate(query, turn), rotate(key, turn)
        out = _attend(query[0].to(value.dtype), key[0].to(value.dtype), value[0], seen)
        x = attention.o_proj(out[None], residual=x)
        x = layer.mlp(layer.post_attention_layernorm(x), residual=x)
    hidden: Tensor = text.model.norm(x)[0]
    return hidden


__all__ = ["Seen", "packed_hidden"]
