"""The pickle format of NVlabs' StyleGAN2 in TensorFlow."""

import pickle

from torch import Tensor

from workflow.worlds.rehearsal.architectures import StyleGan
from workflow.worlds.rehearsal.formats.foreign_classes import (
    SOURCE,
    EasyDict,
    Network,
    foreign_modules,
)


def _tf(name, function, variables=(), components=(), **static_kwargs) -> Network:
    return Network(
        version=4,
        name=name,
        static_kwargs=EasyDict(static_kwargs),
        components=EasyDict(components),
        build_module_src=SOURCE,
        build_func_name=function,
        variables=[(key, value.contiguous().numpy()) for key, value in variables],
    )


def tf_generator(t: dict[str, Tensor], size: StyleGan) -> dict[str, dict[str, Tensor]]:
    """Tensors under NVlabs' PyTorch names → variables of G itself, its mapping and its synthesis."""
    layers = {}
    for i in range(size.mapping_layers):
        layers[f"Dense{i}/weight"] = t[f"mapping.fc{i}.weight"].T
        layers[f"Dense{i}/bias"] = t[f"mapping.fc{i}.bias"]
    found = {"4x4/Const/const": t["synthesis.b4.const"][None]}

    def styled(ours, theirs, rotated=False):
        weight = t[f"{theirs}.weight"]
        # kernels of a transposed convolution are stored rotated by 180 degrees
        weight = weight.flip(2, 3) if rotated else weight
        found[f"{ours}/weight"] = weight.permute(2, 3, 1, 0)
        found[f"{ours}/mod_weight"] = t[f"{theirs}.affine.weight"].T
        found[f"{ours}/mod_bias"] = t[f"{theirs}.affine.bias"] - 1
        found[f"{ours}/bias"] = t[f"{theirs}.bias"]

    def convolution(ours, theirs, place, rotated=False):
        styled(ours, theirs, rotated)
        found[f"{ours}/noise_strength"] = t[f"{theirs}.noise_strength"]
        found[f"noise{place}"] = t[f"{theirs}.noise_const"][None, None]

    for j, side in enumerate(size.sides):
        ours, theirs = f"{side}x{side}", f"synthesis.b{side}"
        if side == 4:
            convolution(f"{ours}/Conv", f"{theirs}.conv1", 0)
        else:
            convolution(f"{ours}/Conv0_up", f"{theirs}.conv0", 2 * j - 1, rotated=True)
            convolution(f"{ours}/Conv1", f"{theirs}.conv1", 2 * j)
        styled(f"{ours}/ToRGB", f"{theirs}.torgb")
    return {"own": {"dlatent_avg": t["mapping.w_avg"]}, "mapping": layers, "synthesis": found}


def tf_discriminator(t: dict[str, Tensor], size: StyleGan) -> dict[str, Tensor]:
    """Tensors under NVlabs' PyTorch names → variables."""
    places = {f"b{size.resolution}.fromrgb": f"{size.resolution}x{size.resolution}/FromRGB"}
    for side in size.sides[1:]:
        for theirs, ours in (("conv0", "Conv0"), ("conv1", "Conv1_down"), ("skip", "Skip")):
            places[f"b{side}.{theirs}"] = f"{side}x{side}/{ours}"
    places |= {"b4.conv": "4x4/Conv", "b4.fc": "4x4/Dense0", "b4.out": "Output"}
    found = {}
    for theirs, ours in places.items():
        weight = t[f"{theirs}.weight"]
        found[f"{ours}/weight"] = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        if f"{theirs}.bias" in t:
            found[f"{ours}/bias"] = t[f"{theirs}.bias"]
    return found


def write_nvlabs_tf(file, networks: dict[str, dict], size: StyleGan) -> None:
    """Write {G, G_ema, D} as (G, D, Gs) of StyleGAN2's TensorFlow code."""
    static = {"num_channels": 3, "resolution": size.resolution, "label_size": 0}
    static |= {"fmap_base": size.channel_base // 2, "fmap_max": size.channel_max}

    def generator(name, t):
        variables = tf_generator(t, size)
        parts = {
            part: _tf(f"G_{part}", f"G_{part}_stylegan2", variables[part].items(), **static)
            for part in ("synthesis", "mapping")
        }
        return _tf(name, "G_main", variables["own"].items(), parts, **static)

    D = _tf("D", "D_stylegan2", tf_discriminator(networks["D"], size).items(), **static)
    content = generator("G", networks["G"]), D, generator("Gs", networks["G_ema"])
    with foreign_modules():
        pickle.dump(content, file, protocol=4)
