"""Captions stay inside the vocabulary and templates stay neutral of style."""

import random

import torch

from nada.clip.encoder import WordTokenizer
from workflow.worlds.mini.captions import (
    CHIMERA_WORD,
    CONTEXT_LENGTH,
    SPECIES_WORDS,
    STYLE_WORDS,
    TEMPLATES,
    VOCABULARY,
    caption,
    part_words,
)
from workflow.worlds.mini.species import NUM_UNIFORMS, PARTS, SPECIES, STYLES, UNIFORMS


def test_every_caption_is_within_the_vocabulary_and_the_context():
    tokenizer, rng = WordTokenizer(list(VOCABULARY), CONTEXT_LENGTH), random.Random(0)
    draw = torch.Generator().manual_seed(0)
    parts = torch.randint(len(SPECIES), (2000, len(PARTS)), generator=draw)
    parts[1000:] = parts[1000:, :1]  # the second half are whole animals
    told = part_words(parts, torch.rand(2000, NUM_UNIFORMS, generator=draw))
    whole = [None] * 1000 + parts[1000:, 0].tolist()
    texts = [caption(whole[i], i % len(STYLES), told[i], rng) for i in range(2000)]
    assert tokenizer(texts).shape == (2000, CONTEXT_LENGTH)
    assert len(VOCABULARY) <= 256
    told_style = sum(CHIMERA_WORD not in text.split() for text in texts[:1000])
    assert told_style < 200  # of a chimera, captions tell parts, or the style alone
    assert not any(CHIMERA_WORD in text.split() for text in texts[1000:])


def test_captions_name_the_parts_that_are_drawn():
    u = torch.full((3, NUM_UNIFORMS), 0.1)
    u[1, UNIFORMS.index("ear_lift")] = 0.9
    dog, cat = SPECIES.index("dog"), SPECIES.index("cat")
    parts = torch.full((3, len(PARTS)), dog)
    parts[2, PARTS.index("ears")] = cat
    heads, ears, eyes, muzzles = zip(*part_words(parts, u), strict=True)
    assert ears == (
        ("dog ears", "hanging ears"), ("dog ears", "standing ears"), ("cat ears", "pointed ears")
    )  # fmt: skip
    assert {heads, eyes, muzzles} == {((f"dog {noun}",),) * 3 for noun in ("head", "eyes", "nose")}


def test_captions_name_every_species_of_hybrids_and_near_misses():
    rng, told = random.Random(1), [(f"{kind} {part}",) for kind, part in
                                   (("cat", "head"), ("dog", "ears"), ("cat", "eyes"), ("cat", "nose"))]  # fmt: skip
    cat, dog = SPECIES.index("cat"), SPECIES.index("dog")
    near = [caption(cat, 0, told, rng, foreign=1) for _ in range(300)]
    plain = [text for text in near if "with dog ears" not in text]
    assert len(plain) < 80  # the style alone
    assert all(set(STYLE_WORDS["photo"]) & set(text.split()) for text in plain)
    hybrids = [caption((cat, dog), 0, told, rng) for _ in range(300)]
    halves = [t for t in hybrids if "half" in t.split()]
    assert len(halves) > 220 and not any("with" in t.split() for t in halves)


def test_templates_name_no_style_and_no_species():
    named = {w for words in [*SPECIES_WORDS.values(), *STYLE_WORDS.values()] for w in words}
    assert all("{}" in template and not named & set(template.split()) for template in TEMPLATES)


def test_captions_name_the_style_of_sketches_more_often_than_that_of_photos():
    rng = random.Random(0)
    share = {
        style: sum(
            any(
                w in caption(1, STYLES.index(style), [("cat eyes",)] * 4, rng).split()
                for w in STYLE_WORDS[style]
            )
            for _ in range(800)
        )
        for style in ("photo", "sketch")
    }
    assert share["sketch"] > 1.5 * share["photo"]
