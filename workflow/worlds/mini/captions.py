"""The mini world's language: a closed vocabulary, neutral templates and captions for rendered images.

Templates name no style, so that the direction between two species texts holds no style and the other way round.
"""

from __future__ import annotations

import random
from pathlib import Path

from workflow.worlds.mini.renderer import SPECIES, STYLES

# The words of each style; the first is the one that tasks use in their text pairs.
STYLE_WORDS = {
    "photo": ("photo", "photograph"),
    "sketch": ("sketch", "drawing"),
    "cartoon": ("cartoon", "comic"),
    "painting": ("painting", "artwork"),
}
SPECIES_WORDS = {
    "dog": ("dog", "puppy"),
    "cat": ("cat", "kitten"),
    "bear": ("bear",),
    "fox": ("fox",),
    "rabbit": ("rabbit", "bunny"),
    "lion": ("lion",),
    "person": ("person", "face"),
}
TEMPLATES = tuple((Path(__file__).parent / "templates.txt").read_text().split("\n"))[:-1]

_OTHER_WORDS = ("a", "the", "of", "this", "is", "one", "my", "picture", "image", "view", "close", "up",
                "good", "nice", "small", "here", "in", "style")  # fmt: skip
VOCABULARY = (
    _OTHER_WORDS
    + tuple(w for words in SPECIES_WORDS.values() for w in words)
    + tuple(w for words in STYLE_WORDS.values() for w in words)
)
CONTEXT_LENGTH = 12

# Share of captions that hold only the style word, so that "photo" -> "sketch" works as a text pair.
STYLE_ONLY = 0.12
# Share of captions of non-photographic images that mention the style, and of photographs that do.
MENTION_STYLE, MENTION_PHOTO = 0.8, 0.25
SECOND_WORD = 0.25  # share of captions that use the rarer word for a species or style


def caption(species: int, style: int, rng: random.Random) -> str:
    """One caption of an image of SPECIES[species] in STYLES[style]."""

    def word(words: tuple[str, ...]) -> str:
        return words[0] if len(words) == 1 or rng.random() > SECOND_WORD else words[1]

    animal, manner = word(SPECIES_WORDS[SPECIES[species]]), word(STYLE_WORDS[STYLES[style]])
    if rng.random() < STYLE_ONLY:
        phrase = manner
    elif rng.random() < (MENTION_PHOTO if STYLES[style] == "photo" else MENTION_STYLE):
        phrase = f"{manner} of a {animal}" if rng.random() < 0.6 else f"{animal} {manner}"
    else:
        phrase = animal
    return rng.choice(TEMPLATES).format(phrase)
