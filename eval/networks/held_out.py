"""The held-out CLIP: a CLIP that steers no adaptation and compares pictures with two texts."""

import numpy as np
import torch

from eval.networks.features import batches
from nada.clip.encoder import load_clip, read_templates, text_embedding
from nada.run.spec.observation_spec import HeldOutClipSpec


class HeldOutClip:
    """A frozen CLIP, and the unit embeddings of two texts, each averaged over the prompt templates.

    UserError: files that cannot be used (`nada.clip.encoder.load_clip`), or a text that it cannot read.
    """

    def __init__(self, spec: HeldOutClipSpec, texts: tuple[str, str], device):
        self.clip = load_clip(spec.model_dump(include={"name", "config", "weights"}), device)
        templates = read_templates(spec.templates)
        self.texts = torch.stack([text_embedding(self.clip, text, templates) for text in texts])
        self.clip.forget_text()

    @torch.inference_mode()
    def cosines(self, images: np.ndarray, batch: int) -> np.ndarray:
        """uint8 [N,H,W,3] -> float32 [N,2] in [-1,1]: the cosine of each image with each text."""
        parts = [self.clip.encode_images(x.to(self.clip.device)) @ self.texts.T for x in batches(images, batch)]
        return torch.cat(parts).float().cpu().numpy()

    def record(self) -> dict:
        """Name, file, hash and activation."""
        return {"name": self.clip.name, **self.clip.record()}
