"""`python -m millrace.models.training`: make the shipped models, one stage or all of them."""

from __future__ import annotations

from .run import main

if __name__ == "__main__":
    main()
