"""The published settings of StyleGAN-NADA, and where each is from: python -m baselines.nada_presets.

Gal et al. 2021, Table 3 and App. I; the data lie in nada_presets.yaml.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from nada.errors import command

FILE = Path(__file__).with_name("nada_presets.yaml")
ORIGINS = ("paper", "thread", "assumed")


@dataclass(frozen=True)
class Preset:
    """One published adaptation.

    domain, resolution: the source model's, pixels per side. texts: (source, target). texts_from,
    settings_from: one of ORIGINS. where: the place. clips: names of CLIP models, each of weight 1.
    settings: what config.yaml takes under methods.nada.settings.
    """

    domain: str
    resolution: int
    texts: tuple[str, str]
    texts_from: str
    settings_from: str
    where: str
    clips: tuple[str, ...]
    settings: dict


def presets() -> dict[str, Preset]:
    """Every preset by name, in the order of the file: the paper's Table 3 first."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    common = content["defaults"]
    return {name: _preset(entry, common) for name, entry in content["presets"].items()}


def _preset(entry: dict, common: dict) -> Preset:
    settings = {**common, **entry["settings"]}
    settings["layers"] = {**common["layers"], **entry["settings"]["layers"]}
    return Preset(
        domain=entry["source"]["domain"],
        resolution=entry["source"]["resolution"],
        texts=(entry["texts"]["source"], entry["texts"]["target"]),
        texts_from=entry["texts_from"],
        settings_from=entry["settings_from"],
        where=entry["where"],
        clips=tuple(entry["clips"]),
        settings=settings,
    )


@command
def main(argv=None) -> None:
    """Print every preset: its settings, its texts, and where they are from."""
    parser = argparse.ArgumentParser(prog="python -m baselines.nada_presets", description=__doc__)
    parser.parse_args(argv)
    for name, preset in presets().items():
        settings, (source, target) = preset.settings, preset.texts
        print(
            f"{name}: {preset.domain} at {preset.resolution} px, {settings['iterations']} "
            f"iterations, k={settings['layers']['k']}, style mixing {settings['style_mixing']}, "
            f"{' + '.join(preset.clips)} ({preset.settings_from})"
        )
        print(f"    '{source}' -> '{target}' ({preset.texts_from}); {preset.where}")


if __name__ == "__main__":
    sys.exit(main())
