"""The mini world's language: a closed vocabulary, neutral templates and captions for rendered images.

Templates name no style: the direction between two species has no style in it, and vice versa.
Captions also name parts (cat ears, a fox nose, hanging ears): an embedding that must tell each part's species
cannot take a cat's nose for a cat.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from workflow.worlds.mini.species import PARTS, SPECIES, STYLES, UNIFORMS, standing_share

# The words of each style; the first is the one that tasks use in their text pairs.
STYLE_WORDS = {
    "photo": ("photo", "photograph"),
    "sketch": ("sketch", "drawing"),
    "cartoon": ("cartoon", "comic"),
    "painting": ("painting", "artwork"),
    "watercolour": ("watercolour", "aquarelle"),
    "monochrome": ("monochrome", "greyscale"),
    "woodcut": ("woodcut", "print"),
}
SPECIES_WORDS = {
    "dog": ("dog", "puppy"),
    "cat": ("cat", "kitten"),
    "bear": ("bear",),
    "fox": ("fox",),
    "rabbit": ("rabbit", "bunny"),
    "lion": ("lion",),
    "wolf": ("wolf",),
    "tiger": ("tiger",),
    "lynx": ("lynx",),
    "koala": ("koala",),
    "mouse": ("mouse",),
    "beaver": ("beaver",),
    "person": ("person", "face"),
}
TEMPLATES = tuple((Path(__file__).parent / "templates.txt").read_text().split("\n"))[:-1]

# Word for a face with parts of several species.
CHIMERA_WORD = "animal"
# A caption names a part by its species ("cat ears") or, for ears, by their shape. Never by colour.
PART_NOUNS = {"head": "head", "ears": "ears", "eyes": "eyes", "muzzle": "nose"}
EAR_SHAPES = {
    **dict.fromkeys(("cat", "fox", "wolf", "lynx"), "pointed ears"),
    **dict.fromkeys(("bear", "lion", "tiger", "koala", "mouse", "beaver"), "round ears"),
    "rabbit": "long ears",
}
DOG_EARS = ("hanging ears", "standing ears")
EAR_SHAPE_SHARE = 0.4  # share of captions of ears that name the shape

_OTHER_WORDS = ("a", "the", "of", "this", "is", "one", "my", "picture", "image", "view", "close", "up",
                "good", "nice", "small", "here", "in", "style")  # fmt: skip
_PART_VOCABULARY = ("with", "and", CHIMERA_WORD, "half", *PART_NOUNS.values(), "hanging", "standing", "pointed", "round", "long")  # fmt: skip
VOCABULARY = (
    _OTHER_WORDS
    + tuple(w for words in SPECIES_WORDS.values() for w in words)
    + tuple(w for words in STYLE_WORDS.values() for w in words)
    + _PART_VOCABULARY
)
CONTEXT_LENGTH = 22

# Share of captions that hold only the style word, so that "photo" -> "sketch" works as a text pair.
STYLE_ONLY = 0.12
# Share of captions of non-photographic images that mention the style, and of photographs that do.
MENTION_STYLE, MENTION_PHOTO = 0.8, 0.25
SECOND_WORD = 0.25  # share of captions that use the rarer word for a species or style
NAME_PARTS = 0.1  # share of captions of whole animals that name parts: one or two of them


def part_words(species: torch.Tensor, u: torch.Tensor) -> list[list[tuple[str, ...]]]:
    """What captions may say of each image's head, ears, eyes and muzzle, each in one or two ways.

    species: int64 [B, len(PARTS)]. u: [B, NUM_UNIFORMS].
    """
    described = []
    stand = (standing_share(u[:, UNIFORMS.index("ear_lift")]) > 0.5).tolist()
    for row, standing in zip(species.tolist(), stand, strict=True):
        words = []
        for part, noun in PART_NOUNS.items():
            kind = SPECIES[row[PARTS.index(part)]]
            ways = (f"{kind} {noun}",)
            if part == "ears" and kind == "dog":
                ways += (DOG_EARS[standing],)
            elif part == "ears" and kind in EAR_SHAPES:
                ways += (EAR_SHAPES[kind],)
            words.append(ways)
        described.append(words)
    return described


def caption(
    species: int | tuple[int, int] | None,
    style: int,
    parts: list[tuple[str, ...]],
    rng: random.Random,
    foreign: int = -1,
) -> str:
    """One caption of an image of SPECIES[species] in STYLES[style]; `parts` as from part_words.

    species: two of them make a hybrid ("half cat half dog"), None a chimera. foreign: index of the
    one part of `parts` that is of another species and always named ("fox with dog ears"); -1: none.
    """

    def word(words: tuple[str, ...]) -> str:
        return words[0] if len(words) == 1 or rng.random() > SECOND_WORD else words[1]

    manner = word(STYLE_WORDS[STYLES[style]])
    if rng.random() < STYLE_ONLY:
        return rng.choice(TEMPLATES).format(manner)
    if species is None:
        noun, count = CHIMERA_WORD, rng.choice((2, 2, 3))
    elif isinstance(species, tuple):
        first, second = (word(SPECIES_WORDS[SPECIES[kind]]) for kind in species)
        noun, count = f"half {first} half {second}", 0
    else:
        noun = word(SPECIES_WORDS[SPECIES[species]])
        count = rng.choice((1, 2)) if rng.random() < NAME_PARTS else 0
    named = [parts[foreign]] if foreign >= 0 else rng.sample(parts, count)
    told = [ways[-1] if rng.random() < EAR_SHAPE_SHARE else ways[0] for ways in named]
    if rng.random() < (MENTION_PHOTO if STYLES[style] == "photo" else MENTION_STYLE):
        noun = f"{manner} of a {noun}" if rng.random() < 0.6 else f"{noun} {manner}"
    phrase = noun + (" with " + " and ".join(told) if told else "")
    return rng.choice(TEMPLATES).format(phrase)
