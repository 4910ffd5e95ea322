"""The only measurement at start: which data type and how many threads suit this CPU."""

from __future__ import annotations

import os

import torch

from .clock import Clock
from .config import Facts, Options


def measure(options: Options, clock: Clock) -> Facts:
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Facts(len(os.sched_getaffinity(0)), gpus)
