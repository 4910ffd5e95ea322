"""How the models at hand behave, and what is said of them. No torch here."""

from __future__ import annotations

from .alerts import AlertRule
from .speaking import GateRule, SpeakRule

AROUND, TINY_AROUND = 32, 4
"""Words of a turn beside its caption: Qwen2.5-VL's marks and times, the embedded model's stamps."""
TINY_GATE = GateRule(every=5.0)
TINY_SPEAK = SpeakRule(begin=1.0, go_on=0.0)
TINY_ALERT = AlertRule(fire=1.0, rearm=0.0)
"""Chosen by `models.training.vl.calibrate` on sixteen streams of a minute: no caption in a quiet
minute, where a threshold of 0 for speaking had 0.17, for the same F1 of 0.95; alert F1 0.92, where
thresholds of 0 and -1 had 0.89."""
RELEASED_MEMORY_S = 600.0
RELEASED_LIMITS = (
    "It was trained by others to tell about everyday video; it may be wrong, and sound sure.",
    "Its window holds the pictures of the last 16 seconds; of older ones it finds what fits a "
    "question.",
)
RELEASED_EXAMPLES = (
    "What is happening?",
    "What did I hold up a minute ago?",
    "What text is there?",
)
RELEASED_WISHES = ("Tell only about people.", "Tell only what changes.", "Tell it in German.")
TINY_WISHES = (
    "only motion",
    "only what appears and disappears",
    "only the colors",
    "only the camera",
    "only the light",
)
RELEASED_ALERTS = ("a person appears", "the light goes off", "somebody waves")
