"""`python -m millrace.models.training.dream`: make the embedded text-to-video model."""

from __future__ import annotations

from .run import main

if __name__ == "__main__":
    main()
