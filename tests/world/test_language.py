"""Captions stay inside the vocabulary and templates stay neutral of style."""

import random

from nada.clip import WordTokenizer
from workflow.worlds.mini.captions import (
    CONTEXT_LENGTH,
    SPECIES_WORDS,
    STYLE_WORDS,
    TEMPLATES,
    VOCABULARY,
    caption,
)
from workflow.worlds.mini.renderer import SPECIES, STYLES


def test_every_caption_is_within_the_vocabulary_and_the_context():
    tokenizer, rng = WordTokenizer(list(VOCABULARY), CONTEXT_LENGTH), random.Random(0)
    texts = [caption(i % len(SPECIES), i % len(STYLES), rng) for i in range(2000)]
    assert tokenizer(texts).shape == (2000, CONTEXT_LENGTH)
    assert len(VOCABULARY) <= 256


def test_templates_name_no_style_and_no_species():
    named = {w for words in [*SPECIES_WORDS.values(), *STYLE_WORDS.values()] for w in words}
    assert all("{}" in template and not named & set(template.split()) for template in TEMPLATES)


def test_the_style_word_is_told_more_often_of_a_sketch_than_of_a_photo():
    rng = random.Random(0)
    share = {
        style: sum(
            any(w in caption(1, STYLES.index(style), rng).split() for w in STYLE_WORDS[style])
            for _ in range(800)
        )
        for style in ("photo", "sketch")
    }
    assert share["sketch"] > 1.5 * share["photo"]
