"""Measuring a model at fixed quality: launches by stage, ceilings, energy, memory, and rivals."""
