"""The published hyperparameters of StyleGAN-NADA, and where each is from: python -m baselines.nada_presets.

Gal et al. 2021, Table 3 and App. I; the data are in nada_presets.yaml.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from nada.run.errors import command

FILE = Path(__file__).with_name("nada_presets.yaml")
ORIGINS = ("paper", "thread", "assumed")


@dataclass(frozen=True)
class Preset:
    """One published adaptation.

    domain, resolution: the source model's, pixels per side. texts: (source, target). texts_from,
    origin: one of ORIGINS. where: the place. clips: names of CLIP models, each of weight 1.
    hyperparameters: what config.yaml takes under methods.nada.hyperparameters.
    """

    domain: str
    resolution: int
    texts: tuple[str, str]
    texts_from: str
    origin: str
    where: str
    clips: tuple[str, ...]
    hyperparameters: dict


def presets() -> dict[str, Preset]:
    """Every preset by name, in the order of the file: the paper's Table 3 first."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    common = content["defaults"]
    return {name: _preset(entry, common) for name, entry in content["presets"].items()}


def _preset(entry: dict, common: dict) -> Preset:
    hparams = {**common, **entry["hyperparameters"]}
    hparams["layers"] = {**common["layers"], **entry["hyperparameters"]["layers"]}
    return Preset(
        domain=entry["source"]["domain"],
        resolution=entry["source"]["resolution"],
        texts=(entry["texts"]["source"], entry["texts"]["target"]),
        texts_from=entry["texts_from"],
        origin=entry["origin"],
        where=entry["where"],
        clips=tuple(entry["clips"]),
        hyperparameters=hparams,
    )


@command
def main(argv=None) -> None:
    """Print every preset: its hyperparameters, its texts, and where they are from."""
    parser = argparse.ArgumentParser(prog="python -m baselines.nada_presets", description=__doc__)
    parser.parse_args(argv)
    for name, preset in presets().items():
        hparams, (source, target) = preset.hyperparameters, preset.texts
        print(
            f"{name}: {preset.domain} at {preset.resolution} px, {hparams['iterations']} "
            f"iterations, k={hparams['layers']['k']}, style mixing {hparams['style_mixing']}, "
            f"{' + '.join(preset.clips)} ({preset.origin})"
        )
        print(f"    '{source}' -> '{target}' ({preset.texts_from}); {preset.where}")


if __name__ == "__main__":
    sys.exit(main())
