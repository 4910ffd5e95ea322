"""Causal convolutions and TAEHV: what they equal, and what they refuse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from millrace.models.conv import CausalConv3d
from millrace.models.specs import TAEHV_WAN21
from millrace.models.taehv import TAEHVDecoder, TAEHVEncoder


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_is_a_convolution_padded_before(stride: int) -> None:
    conv = CausalConv3d(2, 3, (3, 3, 1), stride=(stride, 1, 1)).double()
    x = torch.randn(2, 6, 2, 4, 5, dtype=torch.float64)
    out = conv(x, conv.init_state(2, 4, 5, "cpu", torch.float64))
    padded = functional.pad(x.transpose(1, 2), (0, 0, 1, 1, 3 - stride, 0))
    expected = functional.conv3d(padded, conv.weight, conv.bias, stride=(stride, 1, 1))
    torch.testing.assert_close(out, expected.transpose(1, 2))


def test_without_reach_in_time_there_is_nothing_to_keep() -> None:
    conv = CausalConv3d(2, 3, (1, 3, 3))
    state = conv.init_state(1, 4, 5, "cpu", torch.float32)
    assert state.nbytes == 0
    assert conv(torch.randn(1, 2, 2, 4, 5), state).shape == (1, 2, 3, 4, 5)


def test_chunks_that_do_not_fit_are_refused() -> None:
    conv = CausalConv3d(2, 3, (3, 3, 3), stride=(2, 1, 1))
    with pytest.raises(ValueError, match="3 frames; this layer takes multiples of 2"):
        conv(torch.randn(1, 3, 2, 4, 5), conv.init_state(1, 4, 5, "cpu", torch.float32))
    with pytest.raises(ValueError, match="skips frames"):
        CausalConv3d(2, 3, (1, 1, 1), stride=(2, 1, 1)).init_state(1, 4, 5, "cpu", torch.float32)
    with torch.device("meta"):
        encoder = TAEHVEncoder(TAEHV_WAN21)
    state = encoder.init_state(1, 16, 16, "meta", torch.float32)
    with pytest.raises(ValueError, match="one latent frame is made of 4"):
        encoder(torch.zeros(1, 3, 3, 16, 16, device="meta"), state)
    with pytest.raises(ValueError, match="20x16 is no multiple of 8"):
        encoder.init_state(1, 20, 16, "meta", torch.float32)


def test_shapes_of_taehv() -> None:
    with torch.device("meta"):
        encoder, decoder = TAEHVEncoder(TAEHV_WAN21), TAEHVDecoder(TAEHV_WAN21)
    pictures = torch.zeros(2, 8, 3, 32, 48, device="meta")
    latents = encoder(pictures, encoder.init_state(2, 32, 48, "meta", torch.float32))
    assert latents.shape == (2, 2, 16, 4, 6)
    back = decoder(latents, decoder.init_state(2, 4, 6, "meta", torch.float32))
    assert back.shape == pictures.shape
    assert decoder.warmup == 3
