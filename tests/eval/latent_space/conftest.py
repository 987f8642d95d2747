"""A random CLIP for the tests of the latent space: the one of the method's tests."""

from tests.nada.conftest import clip, clip_spec

__all__ = ["clip", "clip_spec"]
