"""Words of a prompt: how a text is split, and which words count as known.

No torch: hashes and plain sets.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

MAX_CHARACTERS = 10_000
MAX_LETTERS = 40

_TOKEN = re.compile(r"[^\W_]+|[,+/%]")
GRAMS = 12
"""Letter groups that are read of a word."""

_SUFFIXES = ("s", "es", "ed", "d", "ing", "y", "ish", "er", "like", "ly", "style")

STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at away be because been before being
    below between both but by can could couldn did didn do does doesn doing don down during each
    every few for from further get give gives go goes going had has have having he her here hers
    him his how i if in into is isn it its itself just keep let ll look looking looks made make
    makes making may me might more most much must my need needs no not now of off on once one only
    or other our ours out over own please put re s same see shall she should show so some
    something such t take than thanks that the their them then there these they thing things this
    those through to too turn turned under until up us use using ve very want was way we were what
    when where which while who why will with without would you your yours d m
    like style styled effect filter kind sort type version mode
    , + / %
    """.split()
)
"""Never reported as unknown. Those that change the meaning are trained all the same."""


def split_words(prompt: str) -> list[str]:
    """Lower-case words without accents, and the signs , + / % as words of their own.

    Text after the first `MAX_CHARACTERS` is not read, nor are letters after the first
    `MAX_LETTERS` of a word.
    """
    prompt = prompt[:MAX_CHARACTERS]
    plain = unicodedata.normalize("NFKD", prompt.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return [word[:MAX_LETTERS] for word in _TOKEN.findall(plain.replace("&", " and "))]


def _hash(text: str) -> int:
    return crc32(text.encode())


def _deletions(word: str) -> set[str]:
    # The first letter stays: people seldom mistype it, and "soil" must not become "oil".
    return {word[:i] + word[i + 1 :] for i in range(1, len(word))}


@lru_cache(maxsize=16384)
def letter_groups(word: str, buckets: int) -> tuple[int, ...]:
    marked = f"<{word}>"
    found = [marked[i : i + n] for n in (3, 4) for i in range(len(marked) - n + 1)]
    return tuple(_hash("#" + gram) % buckets for gram in found[:GRAMS])


class Vocabulary:
    """Hashes of the words seen in training, with a way from a slip of one letter to its word.

    Holds no words: `known` are their hashes, `near` pairs (hash of the word less one letter, hash
    of the word) for words of at least four letters.
    """

    def __init__(self, known: Iterable[int], near: Iterable[tuple[int, int]]) -> None:
        self.known = frozenset(known)
        self.near = dict(sorted(near, reverse=True))
        # Bounded by dropping all at once: prompts repeat a small set of words.
        self._resolved: dict[str, int | None] = {}

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """The vocabulary that knows exactly `words`."""
        distinct = sorted(set(words))
        near = [(_hash(d), _hash(w)) for w in distinct if len(w) >= 4 for d in _deletions(w)]
        return cls((_hash(word) for word in distinct), near)

    def resolve(self, word: str) -> int | None:
        """Hash of the known word that `word` is, is a form of, or is one letter away from."""
        if word not in self._resolved:
            if len(self._resolved) >= 20_000:
                self._resolved.clear()
            self._resolved[word] = self._resolve(word)
        return self._resolved[word]

    def _resolve(self, word: str) -> int | None:
        own = _hash(word)
        if own in self.known:
            return own
        if word in STOP_WORDS or len(word) < 4:
            return None
        for suffix in _SUFFIXES:
            for form in (word.removesuffix(suffix), word + suffix):
                if form != word and len(form) >= 3 and _hash(form) in self.known:
                    return _hash(form)
        if own in self.near:
            return self.near[own]
        for shorter in sorted(_deletions(word)):
            code = _hash(shorter)
            if code in self.known and len(shorter) >= 4:
                return code
            if code in self.near:
                return self.near[code]
        return None
