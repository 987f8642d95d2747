"""Encoders of pSp, e4e and ReStyle by the published lists of names, and their forwards, written apart.

`state` builds random tensors by name; `forward` computes the codes from them in float64, with no module of
the project. Names: models/encoders/*.py of the public repositories that nada/inversion/encoders.py lists.
"""

import numpy as np
import torch
import torch.nn.functional as F

WIDTHS, DEPTHS, STYLE_DIM, SIZE = (8, 16, 32, 48), (1, 2, 2, 1), 8, 32
#: Which unit is the last of the stages 2, 3 and 4, for IR-SE50 and ResNet-34 (public code: c1, c2, c3).
TAPS = {(3, 4, 14, 3): (6, 20, 23), (3, 4, 6, 3): (6, 12, 15), DEPTHS: (2, 4, 5)}


def is_resnet(kind):
    return kind.startswith("ResNet")


def has_pyramid(kind):
    return "Gradual" in kind or kind == "Encoder4Editing"


def has_deltas(kind):
    return "Progressive" in kind or kind == "Encoder4Editing"


def convolutions(kind, slot, size=SIZE):
    """Stride-2 convolutions of a slot's head: log2 of the map's side."""
    sixteenth = int(np.log2(size)) - 4
    if not has_pyramid(kind) or slot < 3:
        return sixteenth
    return sixteenth + (1 if slot < 7 else 2)


def state(kind, slots, channels=3, widths=WIDTHS, depths=DEPTHS, style_dim=STYLE_DIM, size=SIZE):
    """A random state dict under the public names."""
    stream = torch.Generator().manual_seed(len(kind) + slots)
    made = {}

    def draw(*shape):
        return torch.randn(shape, generator=stream) / np.sqrt(max(1, np.prod(shape[1:])))

    def norm(name, width):
        made[f"{name}.weight"] = 1 + 0.2 * draw(width)
        made[f"{name}.bias"] = 0.2 * draw(width)
        made[f"{name}.running_mean"] = 0.2 * draw(width)
        made[f"{name}.running_var"] = 1 + 0.5 * torch.rand(width, generator=stream)
        made[f"{name}.num_batches_tracked"] = torch.tensor(7)

    if is_resnet(kind):
        made["conv1.weight"] = draw(widths[0], channels, 7, 7)
        norm("bn1", widths[0])
        made["relu.weight"] = 0.25 + 0.1 * draw(widths[0])
    else:
        made["input_layer.0.weight"] = draw(widths[0], channels, 3, 3)
        norm("input_layer.1", widths[0])
        made["input_layer.2.weight"] = 0.25 + 0.1 * draw(widths[0])
    before, number = widths[0], 0
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for place in range(depth):
            unit = f"body.{number}"
            if is_resnet(kind):
                made[f"{unit}.conv1.weight"] = draw(width, before, 3, 3)
                norm(f"{unit}.bn1", width)
                made[f"{unit}.conv2.weight"] = draw(width, width, 3, 3)
                norm(f"{unit}.bn2", width)
                if stage > 0 and place == 0:
                    made[f"{unit}.downsample.0.weight"] = draw(width, before, 1, 1)
                    norm(f"{unit}.downsample.1", width)
            else:
                if before != width:
                    made[f"{unit}.shortcut_layer.0.weight"] = draw(width, before, 1, 1)
                    norm(f"{unit}.shortcut_layer.1", width)
                norm(f"{unit}.res_layer.0", before)
                made[f"{unit}.res_layer.1.weight"] = draw(width, before, 3, 3)
                made[f"{unit}.res_layer.2.weight"] = 0.25 + 0.1 * draw(width)
                made[f"{unit}.res_layer.3.weight"] = draw(width, width, 3, 3)
                norm(f"{unit}.res_layer.4", width)
                hidden = max(1, width // 16)
                made[f"{unit}.res_layer.5.fc1.weight"] = draw(hidden, width, 1, 1)
                made[f"{unit}.res_layer.5.fc2.weight"] = draw(width, hidden, 1, 1)
            before, number = width, number + 1
    for slot in range(slots):
        features = widths[-1]
        for place in range(convolutions(kind, slot, size)):
            made[f"styles.{slot}.convs.{2 * place}.weight"] = draw(style_dim, features, 3, 3)
            made[f"styles.{slot}.convs.{2 * place}.bias"] = 0.1 * draw(style_dim)
            features = style_dim
        made[f"styles.{slot}.linear.weight"] = draw(style_dim, style_dim) * np.sqrt(style_dim)
        made[f"styles.{slot}.linear.bias"] = 0.1 * draw(style_dim)
    if has_pyramid(kind):
        for name, width in (("latlayer1", widths[2]), ("latlayer2", widths[1])):
            made[f"{name}.weight"] = draw(widths[3], width, 1, 1)
            made[f"{name}.bias"] = 0.1 * draw(widths[3])
    return made


def forward(kind, tensors, x, slots, deltas=None, depths=DEPTHS):
    """Codes [N,slots,style_dim] in float64; deltas: how many slots after the first have one."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    x = x.double()

    def norm(x, name):
        mean, variance = t[f"{name}.running_mean"], t[f"{name}.running_var"]
        scale = t[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        shift = t[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def prelu(x, weight):
        return torch.where(x > 0, x, x * weight[:, None, None])

    def ir_se(x, unit, stride):
        short = x[:, :, ::stride, ::stride]
        if f"{unit}.shortcut_layer.0.weight" in t:
            short = norm(F.conv2d(short, t[f"{unit}.shortcut_layer.0.weight"]), f"{unit}.shortcut_layer.1")
        x = F.conv2d(norm(x, f"{unit}.res_layer.0"), t[f"{unit}.res_layer.1.weight"], padding=1)
        x = prelu(x, t[f"{unit}.res_layer.2.weight"])
        x = F.conv2d(x, t[f"{unit}.res_layer.3.weight"], stride=stride, padding=1)
        x = norm(x, f"{unit}.res_layer.4")
        pooled = x.mean(dim=(2, 3))
        hidden = torch.relu(pooled @ t[f"{unit}.res_layer.5.fc1.weight"][:, :, 0, 0].T)
        gate = 1 / (1 + torch.exp(-hidden @ t[f"{unit}.res_layer.5.fc2.weight"][:, :, 0, 0].T))
        return x * gate[:, :, None, None] + short

    def basic(x, unit, stride):
        short = x
        if f"{unit}.downsample.0.weight" in t:
            short = F.conv2d(x, t[f"{unit}.downsample.0.weight"], stride=stride)
            short = norm(short, f"{unit}.downsample.1")
        x = F.conv2d(x, t[f"{unit}.conv1.weight"], stride=stride, padding=1)
        x = torch.relu(norm(x, f"{unit}.bn1"))
        x = norm(F.conv2d(x, t[f"{unit}.conv2.weight"], padding=1), f"{unit}.bn2")
        return torch.relu(x + short)

    if is_resnet(kind):
        x = F.conv2d(x, t["conv1.weight"], stride=2, padding=3)
        x = prelu(norm(x, "bn1"), t["relu.weight"])
    else:
        x = norm(F.conv2d(x, t["input_layer.0.weight"], padding=1), "input_layer.1")
        x = prelu(x, t["input_layer.2.weight"])
    firsts = [sum(depths[:stage]) for stage in range(4)]
    maps = {}
    for number in range(sum(depths)):
        halves = number in firsts and not (is_resnet(kind) and number == 0)
        x = (basic if is_resnet(kind) else ir_se)(x, f"body.{number}", 2 if halves else 1)
        maps[number] = x
    early, middle, last = (maps[number] for number in TAPS[depths])

    def enlarged(x, side):
        """Linear interpolation along both axes, corners on corners."""
        places = np.arange(side) * (x.shape[-1] - 1) / (side - 1)
        rows = np.stack([np.interp(places, range(x.shape[-1]), row) for row in np.eye(x.shape[-1])], 1)
        matrix = torch.from_numpy(rows)
        return matrix @ x @ matrix.T

    def lateral(x, name):
        return F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"])

    levels = [last] * 3
    if has_pyramid(kind):
        levels[1] = enlarged(last, middle.shape[-1]) + lateral(middle, "latlayer1")
        levels[2] = enlarged(levels[1], early.shape[-1]) + lateral(early, "latlayer2")

    def head(slot):
        x = levels[0 if slot < 3 else 1 if slot < 7 else 2]
        place = 0
        while f"styles.{slot}.convs.{2 * place}.weight" in t:
            name = f"styles.{slot}.convs.{2 * place}"
            x = F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"], stride=2, padding=1)
            x = torch.where(x > 0, x, 0.01 * x)
            place += 1
        assert x.shape[2:] == (1, 1)
        weight = t[f"styles.{slot}.linear.weight"]
        return x[:, :, 0, 0] @ (weight / np.sqrt(weight.shape[1])).T + t[f"styles.{slot}.linear.bias"]

    if not has_deltas(kind):
        return torch.stack([head(slot) for slot in range(slots)], dim=1)
    codes = head(0)[:, None].repeat(1, slots, 1)
    for slot in range(1, (slots - 1 if deltas is None else deltas) + 1):
        codes[:, slot] += head(slot)
    return codes
