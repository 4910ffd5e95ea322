"""Millrace: real-time streaming media generation.

The folders beside this file are installed as ``millrace.kernels``, ``millrace.assets``,
``millrace.models``, ``millrace.streaming`` and ``millrace.app``; imports point down in that order.
Begin reading at ``docs/architecture.md``.
"""

__version__ = "0.1.0"
