"""The published hyperparameters: Table 3 to the letter, every preset loadable, every origin named."""

import subprocess
import sys

import pytest

from baselines.nada_presets import ORIGINS, presets
from nada.run.hyperparameters import read_hyperparameters
from nada.training import NadaHyperparameters

# Gal et al. 2021, Table 3: iterations, ViT-B/32, ViT-B/16, style mixing, adaptive k
TABLE_3 = {
    "White Walker": (200, True, True, 0.9, 18),
    "Werewolf": (300, True, True, 0.9, 12),
    "Elf": (200, True, True, 0.9, 18),
    "Edvard Munch": (300, True, True, 0.9, 18),
    "Sketch": (300, True, False, 0.0, 18),
    "Pixar": (130, True, True, 0.9, 18),
    "Zombie": (150, True, False, 0.9, 18),
    "Cubism": (300, True, False, 0.0, 18),
    "Princess": (200, True, True, 0.9, 18),
    "Modigliani": (400, True, True, 0.0, 18),
    "Shire": (300, True, False, 0.9, 14),
    "Nicolas Cage": (300, True, False, 0.9, 12),
    "Cat": (2000, True, True, 0.0, 3),
    "Bear": (2000, True, True, 0.0, 3),
}


@pytest.mark.parametrize("name", TABLE_3)
def test_every_row_of_table_3_loads_into_the_hyperparameters_that_it_prints(name):
    preset = presets()[name]
    hparams = read_hyperparameters(NadaHyperparameters, preset.hyperparameters, name)
    clips = ("ViT-B/32" in preset.clips, "ViT-B/16" in preset.clips)
    found = (hparams.iterations, *clips, hparams.style_mixing, hparams.layers.k)
    assert found == TABLE_3[name]
    assert preset.origin == "paper" and preset.where.startswith("Table 3")


def test_every_preset_keeps_the_paper_s_common_hyperparameters_and_names_its_origins():
    found = presets()
    assert list(found)[: len(TABLE_3)] == list(TABLE_3) and len(found) > len(TABLE_3)
    for name, preset in found.items():
        hparams = read_hyperparameters(NadaHyperparameters, preset.hyperparameters, name)
        assert (hparams.batch, hparams.lr, hparams.loss) == (2, 0.002, "directional")
        assert (hparams.layers.policy, hparams.layers.n_w, hparams.layers.n_i) == (
            "adaptive",
            8,
            1,
        )
        assert preset.texts_from in ORIGINS and preset.origin in ORIGINS and preset.where
        assert all(preset.texts) and preset.texts[0] != preset.texts[1]


def test_no_preset_asks_for_more_layers_than_its_generator_has_slots():
    for preset in presets().values():
        slots = 2 * (preset.resolution.bit_length() - 1) - 2
        assert preset.hyperparameters["layers"]["k"] <= slots


def test_the_command_lists_every_preset_without_importing_torch():
    code = (
        "import sys\nfrom baselines.nada_presets import main\ncode = main([])\n"
        "print('torch' in sys.modules, code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    assert last == "False 0" and len(lines) == 2 * len(presets())
    assert "'human' -> 'white walker' (thread)" in done.stdout
