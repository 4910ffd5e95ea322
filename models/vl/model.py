"""`VLModel`: a vision tower and a decoder, under the names of the released weights."""

from __future__ import annotations

import torch.nn as nn

from .decoder import Decoder
from .specs import VLSpec
from .vision import VisionTower


class VLModel(nn.Module):
    """Weights alone; what a stream remembers lies in a `KVArena`.

    Its own names are `visual.*`, `model.*` and `lm_head.*`; `vision` and `text` are the same
    modules as one works with them.
    """

    text: Decoder

    def __init__(self, spec: VLSpec) -> None:
        super().__init__()
        self.spec = spec
        self.visual = VisionTower(spec.vision)
        decoder = Decoder(spec.text)
        self.model = decoder.model
        if decoder.lm_head is not None:
            self.lm_head = decoder.lm_head
        # Past registration: its weights have their released names already.
        self.__dict__["text"] = decoder

    @property
    def vision(self) -> VisionTower:
        return self.visual
