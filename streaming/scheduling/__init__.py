"""Per-frame deadlines for many viewers of one device: pure scheduling, time is an argument.

The same `Scheduler` plans for the engine and, with a fake clock and device, in the simulator
(`streaming/simulation`). No torch, no threads, no clock in here.
"""
