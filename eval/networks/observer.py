"""The networks of an observation, on their device: they compute features, judge and compare images.

A world has either one perceptual network of its own (features of FID, trunk of LPIPS), or the
published ones: clean-fid's Inception in one or two modes, and LPIPS on VGG16. A judge and a held-out CLIP are optional.
"""

import importlib

from nada.run.errors import UserError
from nada.run.spec.observation_spec import ObservationSpec, RefereeSpec

#: What compares images with two texts; workflow/plan/stages.py names the same module.
HELD_OUT_MODULE = "eval.networks.held_out"
#: Images drawn and observed together, in batches: bounds memory, a multiple of every batch.
AT_ONCE = 20
#: Processes that resize images for Inception, at most.
MOST_WORKERS = 16
#: Memory for the features of VGG16 that LPIPS compares, 32 MB an image: fewer passes with more.
#: On a GPU at most half of what is free.
VGG_BYTES = {"cpu": 2 << 30, "cuda": 32 << 30}
#: What to do where a GPU has no memory for one image.
REMEDY = "use a device with more memory, or the CPU"


class Observer:
    """The networks of an observation, and how they are applied to images.

    Every method takes or gives uint8 [N,H,W,3]; arrays come back on the CPU as float32. A batch
    that does not fit a GPU's memory is computed again in halves, and so are all batches after it.
    """

    def __init__(self, spec: ObservationSpec):
        import torch

        from eval.networks.referee import load_judge
        from nada.run.micro_batch import MicroBatches
        from nada.run.precision import set_numerics

        if spec.device == "cuda" and not torch.cuda.is_available():
            raise UserError("device is cuda, but no CUDA device is usable; set device: cpu.")
        if spec.device == "cpu":
            torch.set_num_threads(1)  # bytes must not depend on the cores of the machine
        self.device = torch.device(spec.device)
        set_numerics(self.device)  # full float32 where a metric is measured, fixed algorithms
        self.batch = spec.counts.batch
        self.fitting = MicroBatches(
            self.batch, 0, f"{spec.task}, {spec.method}", print, self.device, REMEDY
        )
        if spec.referee.perceptual is not None:
            self.eyes = OwnEyes(spec.referee, self.device)
        else:
            self.eyes = PublishedEyes(spec.referee, self.device)
        self.judge = None
        if spec.referee.judge is not None:
            self.judge = load_judge(spec.referee.judge).to(self.device)
            kind, name = spec.target
            known = self.judge.class_names if kind == "class" else self.judge.style_names
            if name not in known:
                raise UserError(f"target {kind} {name!r}: the judge knows only {', '.join(known)}.")

        self.held_out = None
        if spec.referee.held_out_clip is not None:
            # by name, so that the code digest of an observation without it holds no CLIP
            module = importlib.import_module(HELD_OUT_MODULE)
            self.held_out = module.HeldOutClip(spec.referee.held_out_clip, spec.zero_shot, self.device)

    def draw(self, model, z, psi: float, what: str):
        """Images of latents z [N,z_dim]; UserError when one is not finite."""
        import numpy as np
        import torch

        from eval.networks.features import check_finite
        from nada.images.tensors import to_uint8

        def sample(size: int):
            return torch.cat([model.sample(few.to(self.device), psi) for few in part.split(size)])

        parts, count = [], 0
        for part in z.split(self.batch):
            images = self.fitting.attempt(sample)
            check_finite(images, count, what)
            count += len(images)
            parts.append(to_uint8(images))
        return np.concatenate(parts)

    def features(self, images) -> dict:
        """FID features: `features` [N,d], and `features_<mode>` of clean-fid's other modes."""
        return self.fitting.attempt(lambda size: self.eyes.features(images, size))

    def judgement(self, images) -> dict:
        """The judge's class_logits [N,C], style_logits [N,S] and factors [N,F]; {} without one."""
        import torch

        from eval.networks.features import batches

        if self.judge is None:
            return {}

        def judge(size: int) -> list[dict]:
            with torch.inference_mode():
                return [self.judge(x.to(self.device)) for x in batches(images, size)]

        parts = self.fitting.attempt(judge)
        return {name: torch.cat([p[name] for p in parts]).cpu().numpy() for name in parts[0]}

    def text_cosines(self, images) -> dict:
        """{"text_cosines": [N,2]} of the held-out CLIP with the task's two texts; {} without one."""
        if self.held_out is None:
            return {}
        return {"text_cosines": self.fitting.attempt(lambda size: self.held_out.cosines(images, size))}

    def measure(self, images_of, count: int, keep: int) -> tuple[dict, object]:
        """(features, judgement and cosines of `count` images, the first `keep` images).

        images_of(start, stop) -> those images; never more than AT_ONCE batches are held beside the
        kept ones.
        """
        import numpy as np

        found, kept, size = [], [], AT_ONCE * self.batch
        for start in range(0, count, size):
            images = images_of(start, min(start + size, count))
            found.append({**self.features(images), **self.judgement(images), **self.text_cosines(images)})
            kept.append(images[: max(0, keep - start)])
        arrays = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
        return arrays, np.concatenate(kept)

    def distances(self, images, others=None):
        """LPIPS [n,n], or [n,m] to others."""
        import numpy as np

        def compare(size: int):
            return self.eyes.distances(images, others, size, size / self.batch)

        return self.fitting.attempt(compare).astype(np.float32)

    def record(self) -> dict:
        """The published networks that are applied, by file and hash, and how; of a world's own only the CLIP."""
        held_out = {"held_out_clip": self.held_out.record()} if self.held_out else {}
        return {**self.eyes.record(), **held_out}

    def names(self) -> dict:
        """What the judge can name; {} without one."""
        if self.judge is None:
            return {}
        kinds = ("class_names", "style_names", "factor_names")
        return {kind: getattr(self.judge, kind) for kind in kinds}


class OwnEyes:
    """A world's own perceptual network for both features and distances."""

    def __init__(self, referee: RefereeSpec, device):
        from eval.networks.features import CleanFidModel
        from eval.networks.referee import fused, load_perceptual

        self.perceptual = fused(load_perceptual(referee.perceptual)).to(device)
        self.fid_model = CleanFidModel(self.perceptual)
        self.device = device

    def features(self, images, batch: int) -> dict:
        """{"features": [N,d]}"""
        from eval.networks.features import batches, stream_features

        on_device = (x.to(self.device) for x in batches(images, batch))
        return {"features": stream_features(on_device, self.fid_model)}

    def distances(self, images, others, batch: int, share: float = 1.0):
        """LPIPS, every stage with the same weight; share: of the memory that may be used."""
        from eval.networks.lpips_matrix import MEMORY_BYTES, lpips_matrix

        memory = int(share * MEMORY_BYTES)
        return lpips_matrix(self.perceptual, images, others, batch, memory_bytes=memory)

    def record(self) -> dict:
        """Nothing beyond the hash of its file."""
        return {}


class PublishedEyes:
    """The field's own: clean-fid's Inception in one or two modes, and LPIPS on VGG16."""

    def __init__(self, referee: RefereeSpec, device):
        import os

        import torch

        from eval.networks.inception import Resizer, load_inception
        from eval.networks.lpips_vgg import load_lpips_vgg

        files, made_here = referee.inception, referee.made_here
        self.inceptions = [
            load_inception(path, mode, device, made_here=made_here) for mode, path in files.items()
        ]
        self.vgg = load_lpips_vgg(referee.vgg, device, made_here=made_here)
        # a card computes features faster than one process resizes; a CPU job has one thread for everything
        workers = min(MOST_WORKERS, max(1, os.cpu_count() - 1)) if device.type == "cuda" else 0
        self.resizer = Resizer(workers)
        self.memory_bytes = VGG_BYTES[device.type]
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            self.memory_bytes = min(self.memory_bytes, free // 2)

    def features(self, images, batch: int) -> dict:
        """{"features": [N,2048]} of the first mode, `features_<mode>` of the other."""
        from eval.networks.inception import inception_features

        others = self.inceptions[1:]
        names = ["features", *(f"features_{inception.mode}" for inception in others)]
        return {
            name: inception_features(images, inception, self.resizer, batch)
            for name, inception in zip(names, self.inceptions, strict=True)
        }

    def distances(self, images, others, batch: int, share: float = 1.0):
        """LPIPS with the published heads, at 256 px; share: of the memory that may be used."""
        from eval.networks.lpips_matrix import lpips_matrix

        memory = int(share * self.memory_bytes)
        return lpips_matrix(self.vgg, images, others, batch, memory_bytes=memory)

    def record(self) -> dict:
        """{"inception": one entry per mode, "lpips": file, hashes, version, size}."""
        modes = [inception.record() for inception in self.inceptions]
        return {"inception": modes, "lpips": self.vgg.record()}
