"""The artifact of every method: AdaptedModel = latent_map ∘ generator, in one folder.

`model.safetensors` holds the tensors, with the architecture and the provenance as metadata.
`snapshots.safetensors` holds the tensors that changed during training, keyed `<step>/<name>`.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nada.images.image_bank import ImageBank
from nada.latent_maps import LatentMapper, Miner
from nada.run.atomic import atomic_path, canonical_json
from nada.run.errors import UserError
from nada.run.manifest import METADATA_KEY, described, read_weights
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.generator import Generator

FORMAT = "adapted-model-1"
MODEL = "model.safetensors"
SNAPSHOTS = "snapshots.safetensors"

# The classes of a model's parts, by their names in the metadata. A generator has `config` (its keyword
# arguments) and either the parts of a StyleGAN2 generator or a method sample(z, truncation_psi). A
# latent map has `config` and map_z, map_w_plus, or both.
GENERATORS = {"stylegan2": Generator, "image_bank": ImageBank}
LATENT_MAPS = {"mapper": LatentMapper, "miner": Miner}
DISCRIMINATORS = {"stylegan2": Discriminator}
PARTS = {
    "generator": GENERATORS,
    "latent_map": LATENT_MAPS,
    "raw": GENERATORS,
    "discriminator": DISCRIMINATORS,
}


# Errors of building a network from an invalid architecture.
UNFIT = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)


class AdaptedModel:
    """A generator and, optionally, a map of its latent codes (None: the identity).

    Adversarial training returns an averaged generator. `raw` is the generator behind the average and
    `discriminator` its opponent, if they are kept for further training. Sampling uses neither.
    """

    def __init__(
        self,
        generator: nn.Module,
        latent_map: nn.Module | None = None,
        raw: nn.Module | None = None,
        discriminator: nn.Module | None = None,
    ):
        self.generator = generator
        self.latent_map = latent_map
        self.raw = raw
        self.discriminator = discriminator

    def parts(self) -> dict[str, nn.Module]:
        """Every network of the model, by part."""
        every = {name: getattr(self, name) for name in PARTS}
        return {name: module for name, module in every.items() if module is not None}

    def eval(self) -> "AdaptedModel":
        """Put every network in evaluation mode; returns the model."""
        for module in self.parts().values():
            module.eval()
        return self

    def with_latent_map(self, latent_map: nn.Module) -> "AdaptedModel":
        """The same generator behind a latent map."""
        return AdaptedModel(self.generator, latent_map)

    def unaveraged(self) -> "AdaptedModel":
        """The model with the raw generator in place of its average. Raises UserError if none was kept."""
        if self.raw is None:
            raise UserError("this model holds no raw generator, only its average.")
        return AdaptedModel(self.raw, self.latent_map)

    def w_plus(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """z [N,z_dim] → codes that the generator renders, [N,num_ws,style_dim].

        truncation_psi: 1 leaves w as it is, 0 gives the mean w; applied before the latent map.
        """
        map_z = getattr(self.latent_map, "map_z", None)
        map_w_plus = getattr(self.latent_map, "map_w_plus", None)
        w = self.generator.mapping(map_z(z) if map_z else z)
        codes = self.generator.broadcast(self.generator.truncate(w, truncation_psi))
        return map_w_plus(codes) if map_w_plus else codes

    @torch.no_grad()
    def sample(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """z [N,z_dim] → images [N,3,R,R], about [-1,1]; noise is constant, so equal z give equal images."""
        draw = getattr(self.generator, "sample", None)
        if draw is not None:
            return draw(z, truncation_psi)
        return self.generator.synthesis(self.w_plus(z, truncation_psi), noise_mode="const")

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the model by its name in the artifact."""
        return {
            f"{part}.{name}": tensor
            for part, module in self.parts().items()
            for name, tensor in module.state_dict().items()
        }


def save_artifact(folder, model: AdaptedModel, provenance: dict) -> None:
    """Write `model.safetensors` to a folder, atomically; `provenance` is any JSON-able record."""
    with atomic_path(Path(folder) / MODEL) as temporary:
        write_model(temporary, model, provenance)


def load_artifact(folder, step: int | None = None, device="cpu") -> AdaptedModel:
    """Read the model of a run's folder: the final one, or the snapshot at the end of `step`.

    Raises UserError if the folder holds no artifact, a file of it is damaged, or no snapshot of that
    step was kept.
    """
    folder = Path(folder)
    tensors, about = _read(folder / MODEL)
    if step is not None and step != about["provenance"].get("step"):
        changed, steps = _read_snapshots(folder)
        if step not in steps:
            kept = ", ".join(map(str, snapshot_steps(folder))) or "none"
            raise UserError(f"{folder}: no snapshot of step {step} was kept; steps kept: {kept}.")
        prefix = f"{step}/"
        for key, tensor in changed.items():
            if key.startswith(prefix):
                tensors[key.removeprefix(prefix)] = tensor
    try:
        built = {part: _build(kinds, part, about, tensors) for part, kinds in PARTS.items()}
        if built["generator"] is None:
            raise ValueError("there is no generator")
    except (*UNFIT, UserError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / MODEL}: the tensors do not fit the architecture in the metadata: {reason}"
        ) from error
    present = {part: module.to(device) for part, module in built.items() if module is not None}
    return AdaptedModel(**present)


def read_provenance(folder) -> dict:
    """The provenance that a folder's model was saved with."""
    return _read(Path(folder) / MODEL)[1]["provenance"]


def snapshot_steps(folder) -> list[int]:
    """The steps that `load_artifact` can load, ascending; the last is the final model."""
    last = read_provenance(folder).get("step")
    _, steps = _read_snapshots(Path(folder))
    return sorted({*steps, *([last] if last is not None else [])})


def write_model(path, model: AdaptedModel, provenance: dict) -> None:
    """Write the model to `path` directly, without a temporary name; equal models give equal bytes."""
    about = {
        "format": FORMAT,
        **{part: _describe(kinds, getattr(model, part)) for part, kinds in PARTS.items()},
        "provenance": provenance,
    }
    _save(path, model.tensors(), about)


def write_snapshots(
    path, snapshots: dict[int, dict[str, Tensor]], final: dict[str, Tensor]
) -> None:
    """Write the snapshots {step: {name: tensor}} of a model whose last state is `final`.

    A tensor that is the same in every snapshot and in `final` is stored only in the model's file.
    """
    changed = {
        name
        for tensors in snapshots.values()
        for name, tensor in tensors.items()
        if not torch.equal(tensor.cpu(), final[name].cpu())
    }
    kept = {
        f"{step}/{name}": tensor
        for step, tensors in snapshots.items()
        for name, tensor in tensors.items()
        if name in changed
    }
    _save(path, kept, {"format": FORMAT, "steps": sorted(snapshots)})


def _save(path, tensors: dict[str, Tensor], about: dict) -> None:
    # clones: the file format needs contiguous tensors that share no storage
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(stored, path, metadata={METADATA_KEY: canonical_json(about)})


def _read(path: Path, needed: str = "provenance", kind: type = dict) -> tuple[dict, dict]:
    """(tensors, metadata with an entry `needed` of that kind) of a file of an artifact."""
    tensors, metadata = read_weights(path)
    about = described(metadata)
    if about.get("format") != FORMAT or not isinstance(about.get(needed), kind):
        raise UserError(f"{path} is no adapted model of this benchmark; make the run again.")
    return tensors, about


def _read_snapshots(folder: Path) -> tuple[dict[str, Tensor], list[int]]:
    if not (folder / SNAPSHOTS).is_file():
        return {}, []
    tensors, about = _read(folder / SNAPSHOTS, "steps", list)
    return tensors, about["steps"]


def _describe(kinds: dict, module: nn.Module | None) -> dict | None:
    if module is None:
        return None
    kind = next((name for name, cls in kinds.items() if type(module) is cls), None)
    if kind is None:
        raise TypeError(f"{type(module).__name__} is not registered; known: {', '.join(kinds)}")
    return {"kind": kind, "config": module.config}


def _build(kinds: dict, part: str, about: dict, tensors: dict[str, Tensor]) -> nn.Module | None:
    description = about.get(part)
    if description is None:
        return None
    with torch.random.fork_rng(devices=[]):  # the initialisation must not move the run's random stream
        module = kinds[description["kind"]](**description["config"])
    prefix = f"{part}."
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)
