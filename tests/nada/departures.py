"""Every switch of NADA: what the paper does, what the public code does, and what is ours.

The table of docs/departures.md as data; None where the paper is silent, the public code does the
paper's, or nothing is ours.
"""

from typing import NamedTuple


class Switch(NamedTuple):
    paper: object
    official: object
    ours: object = None

    @property
    def default(self):
        """The paper's; where it is silent, the public code's."""
        return self.official if self.paper is None else self.paper


TABLE = {
    # NadaHyperparameters
    "lr": Switch(0.002, 0.0016),
    "betas": Switch((0.0, 0.99), (0.0, 0.992)),  # 0.99 ** 0.8 = 0.991992
    "global_target": Switch("direction", "text"),
    "codes": Switch("shared", "official"),
    "noise": Switch(None, "drawn", "shared"),
    "guard": Switch(None, "official", "epsilon"),
    "clip_resize": Switch("antialias", "official"),
    "augment": Switch("none", None, "shared"),
    "global_prompt": Switch(None, "official", "templates"),
    "skipped_layer_state": Switch("skip", "decay"),
    # LayerHyperparameters
    "layers.selection_codes": Switch("drawn", None, "shared"),
    "layers.map": Switch("aligned", "official"),
    "layers.score": Switch("gradient", "official"),
    "layers.affine": Switch("frozen", "official"),
    "layers.constant": Switch("with_conv_0", "official"),
    "layers.saturated": Switch("all", "select"),
    # MapperHyperparameters
    "mapper.optimiser": Switch(None, "ranger", "radam"),
    "mapper.lambda_l2": Switch(0.5, 0.8),
    "mapper.lambda_norm": Switch(0.2, 0.5),
    "mapper.norm_loss": Switch("distance", "official"),
    "mapper.clip_input": Switch("clip", "official"),
    "mapper.code_pool": Switch(0, 5000),
    "mapper.normalise": Switch("features", "official"),
}

#: What a run is, not how the paper's is made: losses, targets, policies, numerics, controls.
CHOICES = {"loss", "direction", "precision", "layers.policy", "layers.manual", "mapper.base"}


def leaves(hparams, path=""):
    """{dotted key: value} of nested hyperparameters."""
    found = {}
    for key, value in hparams.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{path}{key}.")
        else:
            found[path + key] = tuple(value) if isinstance(value, list) else value
    return found
