"""Ojha et al. 2021 written a second time, as plainly as it can be, to hold a training step against.

Networks are dictionaries of tensors, layers are written out from Karras et al. 2020, losses are
loops over samples. It shares with the code under test the names of the tensors and the order of the
random draws (codes before noise, noise from 4x4 up), nothing else. float64 throughout.
"""

import math
import re

import torch
import torch.nn.functional as F

FIR = torch.tensor([[1.0, 3, 3, 1]]).double().T @ torch.tensor([[1.0, 3, 3, 1]]).double() / 64


# Layers -------------------------------------------------------------------------------------------


def lrelu(x):
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def softplus(x):
    return torch.log(1 + torch.exp(x))


def dense(x, t, name, lr_mul=1.0):
    weight = t[f"{name}.weight"] * lr_mul / math.sqrt(t[f"{name}.weight"].shape[1])
    return x @ weight.T + t[f"{name}.bias"] * lr_mul


def filtered(x, gain, pad):
    """Every channel padded by `pad` on all sides and convolved with gain * FIR (symmetric)."""
    n, c, h, w = x.shape
    x = F.conv2d(x.reshape(n * c, 1, h, w), gain * FIR[None, None], padding=pad)
    return x.reshape(n, c, x.shape[2], x.shape[3])


def with_zeros(x):
    """[N,C,H,W] -> [N,C,2H,2W]: a zero after every value, along both axes."""
    n, c, h, w = x.shape
    x = torch.stack([x, torch.zeros_like(x)], dim=4).reshape(n, c, h, 2 * w)
    return torch.stack([x, torch.zeros_like(x)], dim=3).reshape(n, c, 2 * h, 2 * w)


def modulated(x, weight, style, up, demodulate):
    """Sample by sample, each with the weights that its style makes."""
    rows = []
    for sample, s in zip(x, style, strict=True):
        kernel = weight * s[None, :, None, None] / math.sqrt(weight[0].numel())
        if demodulate:
            kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # the transposed convolution of stride 2, then the filter
            spread = with_zeros(sample[None])[:, :, :-1, :-1]
            rows.append(filtered(F.conv2d(spread, kernel.flip(2, 3), padding=2), 4, pad=1))
        else:
            rows.append(F.conv2d(sample[None], kernel, padding=kernel.shape[-1] // 2))
    return torch.cat(rows)


def convolved(x, t, name, down=False):
    """The equalised convolution `name` without activation."""
    weight = t[f"{name}.weight"]
    weight = weight / math.sqrt(weight[0].numel())
    if down:
        x = F.conv2d(filtered(x, 1, pad=(weight.shape[-1] + 1) // 2), weight)[:, :, ::2, ::2]
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    bias = t.get(f"{name}.bias")
    return x if bias is None else x + bias[:, None, None]


# Networks -----------------------------------------------------------------------------------------


def mapped(t, z):
    x = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    layer = 0
    while f"mapping.layers.{layer}.weight" in t:
        x = lrelu(dense(x, t, f"mapping.layers.{layer}", lr_mul=0.01))
        layer += 1
    return x


def rendered(t, codes):
    """Images of codes [N,L,D], and the maps after every 3x3 convolution."""
    maps = []

    def styled(x, conv, slot, up):
        name = f"synthesis.convs.{conv}"
        style = dense(codes[:, slot], t, f"{name}.affine")
        x = modulated(x, t[f"{name}.weight"], style, up, demodulate=True)
        noise = torch.randn(len(x), 1, *x.shape[2:], dtype=torch.float64)
        x = lrelu(x + t[f"{name}.noise_strength"] * noise + t[f"{name}.bias"][:, None, None])
        maps.append(x)
        return x

    def rgb(x, place, slot):
        name = f"synthesis.to_rgbs.{place}"
        style = dense(codes[:, slot], t, f"{name}.affine")
        x = modulated(x, t[f"{name}.weight"], style, up=False, demodulate=False)
        return x + t[f"{name}.bias"][:, None, None]

    x = styled(t["synthesis.const"].repeat(len(codes), 1, 1, 1), 0, 0, up=False)
    image = rgb(x, 0, 1)
    for j in range(1, codes.shape[1] // 2):
        x = styled(x, 2 * j - 1, 2 * j - 1, up=True)
        x = styled(x, 2 * j, 2 * j, up=False)
        padded = F.pad(with_zeros(image), (2, 1, 2, 1))
        image = filtered(padded, 4, pad=0) + rgb(x, j, 2 * j + 1)
    return image, maps


def whole_logits(t, images, group):
    """D of whole images; `group` is the group size of the minibatch standard deviation."""
    x = lrelu(convolved(images, t, "from_rgb"))
    block = 0
    while f"blocks.{block}.skip.weight" in t:
        main = lrelu(convolved(x, t, f"blocks.{block}.conv0"))
        main = lrelu(convolved(main, t, f"blocks.{block}.conv1", down=True))
        x = (main + convolved(x, t, f"blocks.{block}.skip", down=True)) / math.sqrt(2)
        block += 1
    groups = len(x) // group
    deviations = []
    for m in range(groups):
        members = x[m::groups]
        centred = members - members.mean(dim=0)
        deviations.append((centred.square().mean(dim=0) + 1e-8).sqrt().mean())
    column = torch.stack([deviations[n % groups] for n in range(len(x))])
    x = torch.cat([x, column[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)
    x = lrelu(convolved(x, t, "conv"))
    return dense(lrelu(dense(x.flatten(1), t, "fc")), t, "out")


def patch_logits(t, head, images):
    """The first head on the first candidate: the second convolution of D's first block (16 px)."""
    x = lrelu(convolved(images, t, "from_rgb"))
    x = lrelu(convolved(x, t, "blocks.0.conv0"))
    x = lrelu(convolved(x, t, "blocks.0.conv1", down=True))
    return lrelu(convolved(x, head, "heads.0"))


# Training -----------------------------------------------------------------------------------------


class Adam:
    """Adam without momentum and with the lazy correction; what was never reached stays."""

    def __init__(self, lr, interval):
        c = interval / (interval + 1)
        self.lr, self.beta2, self.moments = lr * c, 0.99**c, {}

    def step(self, tensors, loss):
        """New tensors {name: leaf} after one step on `loss`."""
        names = list(tensors)
        gradients = torch.autograd.grad(loss, [tensors[n] for n in names], allow_unused=True)
        new = {}
        for name, g in zip(names, gradients, strict=True):
            if g is None and name not in self.moments:
                new[name] = tensors[name]
                continue
            g = torch.zeros_like(tensors[name]) if g is None else g
            t, v = self.moments.get(name, (0, 0.0))
            t, v = t + 1, self.beta2 * v + (1 - self.beta2) * g**2
            self.moments[name] = t, v
            change = g / ((v / (1 - self.beta2**t)).sqrt() + 1e-8)
            new[name] = (tensors[name] - self.lr * change).detach().requires_grad_(True)
        return new


class OjhaByHand:
    """The published training: batch 4, rates 0.002, R1 10, path length 2, λ 1000, σ 0.1, mixing 0.9.

    G, D, heads: state dicts in float64; the source is G as it is given. Buffers are told from
    parameters by their names.
    """

    def __init__(self, G, D, heads, anchors, group):
        self.i, self.anchors, self.group, self.path_mean = 0, anchors, group, 0.0
        self.w_avg = G["mapping.w_avg"].clone()
        held = ("mapping.w_avg", "noise_const")
        G = {name: t.clone() for name, t in G.items() if not name.endswith(held)}
        rgbs = [name for name in G if re.fullmatch(r"synthesis\.to_rgbs\.\d+\.bias", name)]
        self.slots = 2 * len(rgbs)
        self.source = G
        self.G = {name: t.clone().requires_grad_(True) for name, t in G.items()}
        self.average = {name: t.clone() for name, t in G.items()}
        both = {**D, **heads}
        self.D = {name: t.clone().requires_grad_(True) for name, t in both.items()}
        self.g_adam, self.d_adam = Adam(0.002, interval=4), Adam(0.002, interval=16)

    def z(self, n):
        return torch.randn(n, self.anchors.shape[1], dtype=torch.float64)

    def w(self, z):
        """w of the first code of a batch, which moves the running mean."""
        w = mapped(self.G, z)
        self.w_avg = 0.995 * self.w_avg + 0.005 * w.detach().mean(dim=0)
        return w

    def codes_anywhere(self, n):
        L = self.slots
        w = self.w(self.z(n))
        codes = torch.stack([w] * L, dim=1)
        if torch.rand(()).item() < 0.9:
            crossover = int(torch.randint(1, L, ()))
            other = mapped(self.G, self.z(n))
            codes = torch.stack([w] * crossover + [other] * (L - crossover), dim=1)
        return codes

    def codes(self, n):
        if self.i % 4 != 0:
            return self.codes_anywhere(n)
        rows = torch.randint(len(self.anchors), (n,))
        z = torch.stack([self.anchors[row] for row in rows.tolist()])
        w = self.w(z + 0.1 * self.z(n))
        return torch.stack([w] * self.slots, dim=1)

    def logits(self, images):
        if self.i % 4 == 0:
            return whole_logits(self.D, images, self.group)
        return patch_logits(self.D, self.D, images)

    def consistency(self):
        """KL(source || adapted) of the softmax over cosines to the other samples, mean of entries."""
        z = self.z(4)
        maps = []
        for t in (self.source, self.G):
            codes = torch.stack([mapped(t, z)] * self.slots, dim=1)
            maps.append(rendered(t, codes)[1])
        layers = torch.randint(1, len(maps[0]), (4,)).tolist()
        entries = []
        for p, layer in enumerate(layers):
            rows = []
            for found in maps:
                flat = [sample.flatten() for sample in found[layer]]
                cosines = [
                    flat[p] @ flat[q] / (flat[p].norm() * flat[q].norm())
                    for q in range(4)
                    if q != p
                ]
                powers = torch.stack(cosines).exp()
                rows.append(powers / powers.sum())
            source, adapted = rows[0].detach(), rows[1]
            entries += list(source * (source.log() - adapted.log()))
        return 1000 * sum(entries) / len(entries)

    def step(self, real):
        """One step on real images [4,3,16,16]; returns its losses."""
        fake = rendered(self.G, self.codes(4))[0].detach()
        d_loss = softplus(-self.logits(real)).mean() + softplus(self.logits(fake)).mean()
        self.D = self.d_adam.step(self.D, d_loss)
        report = {"d_loss": d_loss.item()}
        if self.i % 16 == 0:
            real = real.clone().requires_grad_(True)
            logits = whole_logits(self.D, real, self.group)
            (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
            r1 = sum(sample.square().sum() for sample in slope) / 4
            self.D = self.d_adam.step(self.D, 10 / 2 * 16 * r1)
            report["r1"] = r1.item()

        fake = rendered(self.G, self.codes(4))[0]
        g_loss = softplus(-self.logits(fake)).mean()
        extra = self.consistency()
        self.G = self.g_adam.step(self.G, g_loss + extra)
        report |= {"g_loss": g_loss.item(), "extra_loss": extra.item()}
        if self.i % 4 == 0:
            codes = self.codes_anywhere(2)
            image, _ = rendered(self.G, codes)
            y = torch.randn(image.shape, dtype=torch.float64) / 16
            (slope,) = torch.autograd.grad((image * y).sum(), codes, create_graph=True)
            lengths = torch.stack([s.square().sum(dim=1).mean().sqrt() for s in slope])
            mean = 0.99 * self.path_mean + 0.01 * lengths.mean()
            penalty = (lengths - mean).square().mean()
            self.G = self.g_adam.step(self.G, 2 * 4 * penalty)
            self.path_mean = mean.item()
            report |= {"path_length": lengths.mean().item(), "path_penalty": penalty.item()}

        decay = 0.5 ** (32 / 10000)
        for name, t in self.G.items():
            self.average[name] = decay * self.average[name] + (1 - decay) * t.detach()
        self.i += 1
        return report
