"""How Qwen2.5-VL, LiveCC and StreamingVLM are spoken to. No torch here.

A turn is one second: the words "Time=3.0-4.0s" and its pictures by the user, then words of the
assistant that end with " ..."; a second with nothing to say is that ellipsis alone (LiveCC, arXiv
2504.16030, section 3.2; StreamingVLM, arXiv 2510.09608, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .segments import Piece, Words

START, END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
ELLIPSIS = " ..."
SYSTEM = "You are a helpful assistant."
MOST_CHARACTERS = 2000
"""Of what a viewer types; what is longer is cut."""


class QwenDialect:
    """The `Dialect` of a released model, through its own tokenizer.

    Args:
        tokenizer: of transformers, or anything with its `encode`, `decode` and
            `convert_tokens_to_ids`.

    Raises:
        ValueError: it lacks a mark of the chat format; it is named.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        marks = {mark: self._mark(mark) for mark in (START, END, VISION_START, VISION_END)}
        self._end = marks[END]
        self._vision = marks[VISION_START], marks[VISION_END]
        self.silence: tuple[int, ...] = self.encode(ELLIPSIS)
        ends = {self._end, *(id for id in (getattr(tokenizer, "eos_token_id", None),) if id)}
        # Where the ellipsis is one token (it is in the released vocabulary) it ends a caption.
        self.stop: frozenset[int] = frozenset(
            ends | (set(self.silence) if len(self.silence) == 1 else set())
        )
        self.yes: int = self.encode("Yes")[0]
        self.no: int = self.encode("No")[0]

    def _mark(self, mark: str) -> int:
        ids = self._tokenizer.encode(mark, add_special_tokens=False)
        if len(ids) != 1:
            raise ValueError(f"this tokenizer has no token {mark}; it is not Qwen2.5-VL's")
        return int(ids[0])

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """Marks left out, and the half of a character at the end of an answer that still grows."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return str(text).rstrip("\ufffd").removesuffix(ELLIPSIS).strip()

    def plain(self, text: str) -> str:
        """What a viewer typed, without anything that reads as a mark."""
        return text[:MOST_CHARACTERS].replace("<|", "< |").strip()

    def opening(self, instruction: str) -> list[Words]:
        system = Words("system", self.encode(f"{START}system\n{SYSTEM}{END}\n"), pinned=True)
        wish = self.plain(instruction)
        if not wish:
            return [system]
        # A turn of its own that is never forgotten, and not a part of the first second.
        asked = f"{START}user\n{wish}{END}\n{START}assistant\nOK.{END}\n"
        return [system, Words("query", self.encode(asked), pinned=True)]

    def turn(self, number: int, second: float, pictures: Sequence[Piece]) -> list[Piece]:
        start, end = self._vision
        head = self.encode(f"{START}user\nTime={second:.1f}-{second + 1:.1f}s")
        tail = self.encode(f"{END}\n{START}assistant\n")
        return [
            Words("header", (*head, start), number, second),
            *pictures,
            Words("header", (end, *tail), number, second),
        ]

    def footer(self, number: int, second: float, silent: bool) -> list[Words]:
        """A silent turn has its ellipsis already."""
        ending = (() if silent else self.silence) + self.encode(f"{END}\n")
        return [Words("footer", ending, number, second)]

    def question(self, text: str, now: float, span: tuple[float, float] | None) -> list[Words]:
        about = f" (about Time={span[0]:.1f}-{span[1]:.1f}s)" if span else ""
        return [self._asked(f"{self.plain(text)}{about}", now)]

    def alert(self, condition: str, now: float) -> list[Words]:
        wish = self.plain(condition)
        return [self._asked(f'Is this true right now: "{wish}"? Answer with Yes or No.', now)]

    def _asked(self, text: str, now: float) -> Words:
        ids = self.encode(f"{START}user\n{text}{END}\n{START}assistant\n")
        return Words("question", ids, time=now)


def load_dialect(folder: str) -> QwenDialect:
    """The dialect of a model in a local folder.

    Raises:
        ImportError: transformers is not installed; the message says how to.
        ValueError: there is no tokenizer, or another one's.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError(
            "a released language model needs transformers: pip install 'millrace[vlm]'"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: no tokenizer can be read there ({error})") from error
    return QwenDialect(tokenizer)
