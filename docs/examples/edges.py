"""Edge detection as a Millrace pipeline, in plain PyTorch."""

import torch
from millrace.streaming.controls import Control
from millrace.streaming.pipeline import PipelineInfo


class Edges:
    def __init__(self, context):
        gain = Control("gain", "Gain", "float", 4.0, minimum=1.0, maximum=10.0, step=0.5)
        self.info = PipelineInfo(name="edges", title="Edges", controls=(gain,))
        sobel = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]]) / 8
        self.kernels = torch.stack([sobel, sobel.T])[:, None].to(context.device)

    def open(self, config):
        return object()  # what this stream remembers: nothing

    def step(self, batch):
        return [w.done(self.draw(w.frames, w.controls.number("gain"))) for w in batch]

    def draw(self, frames, gain):  # [T, 3, H, W] in 0..1
        slopes = torch.nn.functional.conv2d(frames.mean(1, keepdim=True), self.kernels, padding=1)
        return (gain * slopes.norm(dim=1, keepdim=True)).clamp(0, 1).expand_as(frames)

    def close(self, stream):
        pass
