"""Models: weights in modules, memory in explicit State; no threads, no clock, no sessions."""
