"""The words of the embedded language model: one token each, synonyms folded. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence

STAMPS = 128
"""Seconds are told apart modulo this."""
SPECIAL = ("<pad>", "<unknown>", "<begin>", "<end>", "<silent>", "<ask>", "<when>", "<wish>")
SPECIAL_TOO = ("<in>", "<answer>", "<limits>", "<forgot>")
SPOKEN = {
    "<limits>": "i can only tell colors, shapes, numbers, motion, the camera and the light",
    "<forgot>": "i do not remember that",
}
"""Tokens that are read as whole sentences."""

_WORDS = """
yes no
red orange yellow green blue purple pink white black gray brown
circle square triangle star cross heart something thing
none one two three four five six seven eight nine ten
left right up down in out top bottom middle
a an the it i this that there and or then of on with from to at by for than more first last now
is do be can tell see say no not nothing anything any only many new plain rough dark bright mostly
what which where who when how why way color shape number place picture photo drawing scene
background camera light main sound person people face cat dog car text word name
appear gone move stop still turn change pan zoom happen doing go come get
darker brighter seen sees far near big small same other another both all most
me you my your we he she they time second minute ago here
, :
appears disappears moves stops turns pans zooms gets changes view into pictures photos colors
happened moving starts off back leaves goes have about comes
"""
WORDS = tuple(dict.fromkeys(_WORDS.split()))
TOKENS: tuple[str, ...] = (
    *SPECIAL,
    *SPECIAL_TOO,
    *(f"<{second}>" for second in range(STAMPS)),
    *WORDS,
)
IDS = {token: number for number, token in enumerate(TOKENS)}
UNKNOWN, BEGIN, END, SILENT = (IDS[name] for name in ("<unknown>", "<begin>", "<end>", "<silent>"))
ASK, WHEN, WISH, IN, ANSWER = (
    IDS[name] for name in ("<ask>", "<when>", "<wish>", "<in>", "<answer>")
)
LIMITS, FORGOT, NOTHING = IDS["<limits>"], IDS["<forgot>"], IDS["<pad>"]
FIRST_STAMP = IDS["<0>"]

_PHRASES = (
    (r"what's|whats", "what is"),
    (r"where's", "where is"),
    (r"(how's|how is) the", "how is the"),
    (r"it's", "it is"),
    (r"isn't|aren't|doesn't|don't", "not"),
    (r"(can|could|would) you (please )?(tell me|say|describe)", "tell"),
    (r"do you know|please|i want to know|let me know|tell me|right now|currently|now|exactly", ""),
    (r"(in )?(which|what) direction", "which way"),
    (r"(comes?|came|coming) (into|in) (the )?(view|picture|sight)|shows? up|turns? up", "appear"),
    (r"(goes|went|gone) away|(leaves|left) the (view|picture|scene|frame)", "gone"),
    (r"(starts?|started|begins?|began) (moving|to move)", "move"),
    (r"(stops?|stopped) moving", "stop"),
    (r"stands? still|(not|is no longer) moving|motionless|at rest", "still"),
    (r"(is|are) there any", "is there a"),
    (r"(do|can|could) you see( any)?|can one see|is anybody able to see", "is there"),
    (r"(in|on) (the |this )?(picture|image|view|frame|screen|video|scene)|in view|visible", ""),
    (r"(in|on) (the )?background|behind (it|that|them|everything)", "background"),
    (r"black and white", "gray"),
    (r"a lot of", "many"),
    (r"(goes|went|go|going) (dark|out)|(lights?) (goes|go) (out|off|down)", "get darker"),
    (r"(lights?) (goes|go|comes|come) (on|up|back)|lights? up", "get brighter"),
    (r"(gets?|becomes?|got|grows?) dark(er)?", "get darker"),
    (r"(gets?|becomes?|got|grows?) (bright(er)?|light(er)?)", "get brighter"),
    (r"(is|are|was|were) (seen|present)", "is there"),
)
_FOLDED = {
    "color": "colour colours colors coloured colored hue",
    "circle": "circles ball balls disc disk discs disks dot round",
    "square": "squares box boxes block blocks rectangle",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses plus",
    "heart": "hearts",
    "thing": "things object objects item items shapes figure figures forms ones",
    "something": "somebody someone",
    "anything": "anybody anyone",
    "purple": "violet magenta lilac",
    "red": "crimson scarlet",
    "gray": "grey silver",
    "pink": "rose",
    "appear": "appears appeared appearing emerges arrives arrived arrive enters enter entered",
    "gone": "disappears disappear disappeared vanishes vanish vanished leaves leave missing",
    "move": "moves moved moving motion movement goes go going went travels heading headed",
    "stop": "stops stopped halts halt stopping",
    "still": "steady static",
    "turn": "turns turned becomes become became",
    "change": "changes changed changing differs",
    "pan": "pans panned panning",
    "zoom": "zooms zoomed zooming",
    "happen": "happens happened happening event events occurred",
    "doing": "do does did done",
    "is": "are was were am be been",
    "there": "",
    "a": "an some",
    "way": "direction towards",
    "left": "leftwards leftward",
    "right": "rightwards rightward",
    "up": "upwards upward",
    "down": "downwards downward",
    "top": "upper above",
    "bottom": "lower below",
    "middle": "center centre central",
    "photo": "photos photograph photographs real",
    "drawing": "drawings drawn cartoon painting artificial",
    "picture": "image frame view screen video pictures images",
    "scene": "scenes cut",
    "many": "much",
    "number": "count amount",
    "main": "dominant most mostly mainly",
    "place": "position located location",
    "dark": "dim",
    "bright": "lit sunny",
    "tell": "describe say explain",
    "which": "",
    "none": "zero 0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "nothing": "",
    "get": "gets got",
    "have": "has had its",
    "come": "comes came",
}
_FOLD = {word: to for to, words in _FOLDED.items() for word in words.split()}
_WORD = re.compile(r"[a-z']+|\d+|[,:]")
_RULES = tuple((re.compile(rf"\b(?:{pattern})\b"), to) for pattern, to in _PHRASES)


def stamp(second: float) -> int:
    """Token of a second of the stream."""
    return FIRST_STAMP + int(round(second)) % STAMPS


def is_stamp(token: int) -> bool:
    return FIRST_STAMP <= token < FIRST_STAMP + STAMPS


def fold(text: str) -> list[str]:
    """Words of a question or a wish, synonyms and forms made one; unknown ones stay."""
    text = " ".join(text.lower().replace("’", "'").split())
    for pattern, to in _RULES:
        text = pattern.sub(to, text)
    return [_FOLD.get(word, word) for word in _WORD.findall(text) if word not in (",", ":")]


def encode(text: str) -> tuple[int, ...]:
    """Tokens of what the model says, word by word."""
    return tuple(IDS.get(word, UNKNOWN) for word in _WORD.findall(text.lower()))


def encode_folded(text: str) -> tuple[int, ...]:
    """Tokens of what is said to the model."""
    return tuple(IDS.get(word, UNKNOWN) for word in fold(text))


def decode(ids: Sequence[int]) -> str:
    """Text of tokens; those without words are left out."""
    text = ""
    for number in ids:
        token = TOKENS[number] if 0 <= number < len(TOKENS) else ""
        word = SPOKEN.get(token, "" if token.startswith("<") else token)
        if word:
            text += word if word in ",:" or not text else " " + word
    return text
