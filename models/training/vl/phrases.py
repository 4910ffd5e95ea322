"""Many ways to ask the same."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator

COLOR = (
    "what color is the {s}",
    "what colour is the {s}?",
    "which color does the {s} have",
    "tell me the colour of the {s}",
    "the color of the {s}?",
    "what's the color of the {s}",
)
SHAPE = (
    "what shape is the {c} thing",
    "what is the {c} object",
    "which shape is {c}",
    "what shape does the {c} one have",
    "what is {c}",
    "the {c} thing is what shape",
)
COUNT = (
    "how many things are there",
    "how many objects do you see",
    "how many shapes are in the picture",
    "count the objects",
    "number of things?",
    "how many are there",
)
COUNT_SOME = (
    "how many {p} are there",
    "how many {p} do you see",
    "count the {p}",
    "number of {p}?",
    "how many {p} can you see",
)
EXIST = (
    "is there {a}",
    "do you see {a}",
    "can you see {a}?",
    "is {a} in the picture",
    "is {a} visible",
)
WAY = (
    "which way is the {x} moving",
    "where is the {x} going",
    "in which direction does the {x} move",
    "what is the {x} doing",
    "what direction is the {x} heading",
    "how is the {x} moving",
)
MOVING = (
    "is the {x} moving",
    "does the {x} move",
    "is the {x} in motion",
)
STILL = ("is the {x} still", "is the {x} not moving", "does the {x} stand still")
WHERE = (
    "where is the {x}",
    "where do you see the {x}",
    "what is the position of the {x}",
    "in which place is the {x}",
)
WHO_MOVES = ("what is moving", "what moves", "which object is moving", "which thing moves")
ANY_MOVES = ("is anything moving", "is something moving", "does anything move")
CAMERA = (
    "what is the camera doing",
    "what does the camera do",
    "which way is the camera moving",
    "how does the camera move",
    "is the camera panning or zooming",
)
CAMERA_MOVES = ("is the camera moving", "does the camera move")
LIGHT = (
    "is it dark or bright",
    "is the picture bright or dark",
    "how bright is it",
    "how is the light",
)
DARK = ("is it dark", "is the picture dark")
BRIGHT = ("is it bright", "is the scene bright")
GROUND = (
    "what is the background",
    "what is in the background",
    "what color is the background",
    "describe the background",
)
PHOTO = ("is it a photo or a drawing", "is this a drawing or a photograph")
IS_PHOTO = ("is this a photo", "is the background a photo")
DESCRIBE = (
    "what do you see",
    "describe the picture",
    "what is there",
    "what is in the picture",
    "describe the scene",
    "tell me what is visible",
    "what can you see",
)
HAPPENED = (
    "what happened",
    "what did happen",
    "what has happened",
    "what changed",
    "tell me what happened",
    "what was happening",
    "what was the event",
)
LAST = (
    "what happened last",
    "what was the last event",
    "what was the last thing that happened",
    "what changed last",
)
FOREIGN = (
    "who is the president",
    "what is the person's name",
    "how old is he",
    "what time is it",
    "read the text",
    "what does the sign say",
    "is there a dog",
    "do you see a cat",
    "is the man happy",
    "what brand is the car",
    "why is this here",
    "tell me a joke",
    "what is the capital of france",
    "how are you",
    "who are you",
    "is a face in the picture",
    "what is the person doing",
    "how many people are there",
    "is it raining",
    "where am i",
    "what is the weather like",
    "how far away is it",
    "what word is written there",
    "which animal is that",
    "what is {u}",
    "where is the {u}",
    "how many {u} are there",
    "what color is the {u}",
    "is the {u} moving",
    "{u} {u} {u}",
    "can you {u} the {u}",
    "is there a {u}",
    "which {u} is it",
)


def choose(rng: Rng, ways: tuple[str, ...]) -> str:
    return ways[int(rng.integers(len(ways)))]
