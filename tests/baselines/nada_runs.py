"""Hyperparameters of small NADA runs, and what the tests read from a run's folder."""

import csv
import io

import torch

from nada.run.artifact import load_artifact
from nada.stylegan2.source_model import load_source

ADAPTIVE = {"layers": {"policy": "adaptive", "k": 2, "n_w": 3}, "style_mixing": 0.9}
MAPPER = {"mapper": {"iterations": 6}, "layers": {"policy": "adaptive", "k": 2, "n_w": 3}}
IMAGE = {"direction": "image"}
MAP = {**MAPPER, "mapper": {"iterations": 6, "base": "source"}}


def rows(world, out):
    return list(csv.DictReader(io.StringIO((world.folder / out / "curves.csv").read_text())))


def changed_tensors(world, out):
    """Names of the generator's tensors that differ from the source's."""
    source = load_source("weights/dog.safetensors").G_ema.state_dict()
    adapted = load_artifact(world.folder / out).generator.state_dict()
    return {name for name, tensor in adapted.items() if not torch.equal(tensor, source[name])}


def conv_names(*layers):
    parts = ("weight", "bias", "noise_strength")
    return {f"synthesis.convs.{layer}.{part}" for layer in layers for part in parts}
