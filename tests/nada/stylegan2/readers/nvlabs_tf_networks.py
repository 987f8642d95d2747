"""Networks in the layout of NVlabs' TensorFlow pickles, and their forward pass in its conventions."""

import math

import torch
import torch.nn.functional as F

W = 12  # size of z and w


FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


SOURCE = "import pathlib; pathlib.Path('canary').touch(); raise SystemExit('the source was run')\n"


class Network:
    """Pickles like a network of `dnnlib.tflib`: arguments, source text, variables, parts."""

    def __init__(self, name, variables, components=None, **static_kwargs):
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": static_kwargs,
            "components": components or {},
            "build_module_src": SOURCE,
            "build_func_name": name,
            "variables": [(key, value.numpy()) for key, value in variables.items()],
        }

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        raise AssertionError("the file's networks were rebuilt")


class EasyDict(dict):
    pass


# Variables by the published names -----------------------------------------------------------------


def mapping_variables(layers):
    variables = {}
    for i in range(layers):
        variables[f"Dense{i}/weight"] = torch.randn(W, W) * 100
        variables[f"Dense{i}/bias"] = torch.randn(W) * 30
    return variables


def synthesis_variables(count):
    variables = {"4x4/Const/const": torch.randn(1, count[4], 4, 4)}

    def layer(name, c_in, c_out, kernel, noise=True):
        variables[f"{name}/weight"] = torch.randn(kernel, kernel, c_in, c_out)
        variables[f"{name}/mod_weight"] = torch.randn(W, c_in)
        variables[f"{name}/mod_bias"] = 0.3 * torch.randn(c_in)
        variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)
        if noise:
            variables[f"{name}/noise_strength"] = 0.3 * torch.randn([])

    for side in sorted(count):
        if side == 4:
            layer("4x4/Conv", count[4], count[4], 3)
        else:
            layer(f"{side}x{side}/Conv0_up", count[side // 2], count[side], 3)
            layer(f"{side}x{side}/Conv1", count[side], count[side], 3)
        layer(f"{side}x{side}/ToRGB", count[side], 3, 1, noise=False)
    for i in range(2 * len(count) - 1):
        side = 2 ** ((i + 5) // 2)
        variables[f"noise{i}"] = torch.randn(1, 1, side, side)
    return variables


def discriminator_variables(count):
    variables = {}

    def conv(name, c_in, c_out, kernel, bias=True):
        variables[f"{name}/weight"] = torch.randn(kernel, kernel, c_in, c_out)
        if bias:
            variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)

    top = max(count)
    conv(f"{top}x{top}/FromRGB", 3, count[top], 1)
    for side in sorted(count, reverse=True)[:-1]:
        conv(f"{side}x{side}/Conv0", count[side], count[side], 3)
        conv(f"{side}x{side}/Conv1_down", count[side], count[side // 2], 3)
        conv(f"{side}x{side}/Skip", count[side], count[side // 2], 1, bias=False)
    conv("4x4/Conv", count[4] + 1, count[4], 3)
    for name, c_in, c_out in (("4x4/Dense0", count[4] * 16, count[4]), ("Output", count[4], 1)):
        variables[f"{name}/weight"] = torch.randn(c_in, c_out)
        variables[f"{name}/bias"] = 0.3 * torch.randn(c_out)
    return variables


def generator(count, layers, **static_kwargs):
    top = max(count)
    parts = {
        "synthesis": Network("G_synthesis", synthesis_variables(count), resolution=top),
        "mapping": Network("G_mapping", mapping_variables(layers), mapping_layers=layers),
    }
    own = {"lod": torch.zeros([]), "dlatent_avg": torch.randn(W)}
    kwargs = {"num_channels": 3, "resolution": top, "label_size": 0, **static_kwargs}
    return Network("G_main", own, EasyDict(parts), **kwargs)


def discriminator(count, **static_kwargs):
    kwargs = {"num_channels": 3, "resolution": max(count), "label_size": 0, **static_kwargs}
    return Network("D_stylegan2", discriminator_variables(count), **kwargs)


def variables_of(network, prefix=""):
    found = {f"{prefix}{k}": torch.as_tensor(v) for k, v in network.state["variables"]}
    for name, part in network.state["components"].items():
        found |= variables_of(part, f"{prefix}{name}/")
    return found


# The forward pass in that code's conventions ------------------------------------------------------


def lrelu(x):
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def oihw(weight):
    """[kh,kw,in,out] at its size in use."""
    return weight.permute(3, 2, 0, 1) / math.sqrt(weight[..., 0].numel())


def fir(x, gain, pad):
    return F.conv2d(F.pad(x, pad), (FIR * gain).expand(x.shape[1], 1, 4, 4), groups=x.shape[1])


def zeros_between(x):
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def drawn(v, z, psi):
    x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    i = 0
    while f"mapping/Dense{i}/weight" in v:
        weight, bias = v[f"mapping/Dense{i}/weight"], v[f"mapping/Dense{i}/bias"]
        x = lrelu(x @ weight * (0.01 / math.sqrt(W)) + bias * 0.01)
        i += 1
    w = v["dlatent_avg"] + psi * (x - v["dlatent_avg"])

    def modulated(x, name, demodulate, up=False):
        style = w @ v[f"{name}/mod_weight"] / math.sqrt(W) + v[f"{name}/mod_bias"] + 1
        kernels = oihw(v[f"{name}/weight"])[None] * style[:, None, :, None, None]
        if demodulate:
            kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        rows = []
        for sample, kernel in zip(x, kernels, strict=True):
            sample = sample[None]
            if up:  # a plain convolution of the widened map
                sample = F.conv2d(zeros_between(sample)[:, :, :-1, :-1], kernel, padding=2)
                rows.append(fir(sample, 4, (1, 1, 1, 1)))
            else:
                rows.append(F.conv2d(sample, kernel, padding=kernel.shape[-1] // 2))
        return torch.cat(rows)

    def styled(x, name, noise, up=False):
        x = modulated(x, name, demodulate=True, up=up)
        x = x + v[f"synthesis/noise{noise}"] * v[f"{name}/noise_strength"]
        return lrelu(x + v[f"{name}/bias"][:, None, None])

    def rgb(x, name):
        return modulated(x, name, demodulate=False) + v[f"{name}/bias"][:, None, None]

    x = v["synthesis/4x4/Const/const"].repeat(len(z), 1, 1, 1)
    x = styled(x, "synthesis/4x4/Conv", 0)
    image = rgb(x, "synthesis/4x4/ToRGB")
    side, noise = 8, 1
    while f"synthesis/{side}x{side}/ToRGB/weight" in v:
        x = styled(x, f"synthesis/{side}x{side}/Conv0_up", noise, up=True)
        x = styled(x, f"synthesis/{side}x{side}/Conv1", noise + 1)
        wide = fir(zeros_between(image), 4, (2, 1, 2, 1))
        image = wide + rgb(x, f"synthesis/{side}x{side}/ToRGB")
        side, noise = side * 2, noise + 2
    return image


def logits(v, images, group):
    def conv(x, name, down=False):
        kernel = oihw(v[f"{name}/weight"])
        if down:
            pad = (kernel.shape[-1] + 1) // 2
            return F.conv2d(fir(x, 1, (pad, pad, pad, pad)), kernel, stride=2)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)

    def active(x, name):
        return lrelu(x + v[f"{name}/bias"][:, None, None])

    side = images.shape[-1]
    x = active(conv(images, f"{side}x{side}/FromRGB"), f"{side}x{side}/FromRGB")
    while side > 4:
        main = active(conv(x, f"{side}x{side}/Conv0"), f"{side}x{side}/Conv0")
        name = f"{side}x{side}/Conv1_down"
        main = active(conv(main, name, down=True), name)
        x = (main + conv(x, f"{side}x{side}/Skip", down=True)) / math.sqrt(2)
        side //= 2
    size = max(s for s in range(1, min(group, len(x)) + 1) if len(x) % s == 0)
    y = x.reshape(size, -1, *x.shape[1:])
    y = ((y - y.mean(0)).square().mean(0) + 1e-8).sqrt().mean((1, 2, 3))
    x = torch.cat([x, y.repeat(size)[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    x = active(conv(x, "4x4/Conv"), "4x4/Conv").flatten(1)

    def dense(x, name):
        weight = v[f"{name}/weight"]
        return x @ weight / math.sqrt(len(weight)) + v[f"{name}/bias"]

    return dense(lrelu(dense(x, "4x4/Dense0")), "Output")


def close(ours, theirs):
    return (ours - theirs).abs().max().item() <= 1e-5 * max(1.0, theirs.abs().max().item())


@torch.no_grad()
def images_of(G, z, psi=0.7):
    return G.synthesis(G.broadcast(G.truncate(G.mapping(z), psi)), noise_mode="const")


def widths(resolution, base=512, top=8):
    return {2**i: max(1, min(base >> i, top)) for i in range(2, resolution.bit_length())}
