"""A small results folder for the report: planted scores, records, pictures and figures; no network runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from eval import claims, paper_table, tables
from eval.observation import GALLERY_PSI, Observation, save_observation
from eval.score import COLUMNS

WORLD, TASK, PIXELS, PICTURES = "mini", "dog2cat", 8, 4
#: condition -> {metric: mean}; each seed adds a little.
SCORES = {
    ("source", "unchanged", 0, "source"): {"fid": 90.0, "target_rate": 0.0, "intra_cluster_lpips": 2.0},
    ("replay", "images", 10, "source"): {"fid": 4.0, "target_rate": 1.0, "intra_cluster_lpips": 1.1},
    ("nada", "global", 0, "source"): {"fid": 30.0, "target_rate": 0.1, "intra_cluster_lpips": 0.8},
    ("nada", "all_layers", 0, "source"): {"fid": 22.0, "target_rate": 0.4, "intra_cluster_lpips": 1.9},
    ("nada", "adaptive", 0, "source"): {"fid": 12.0, "target_rate": 0.7, "intra_cluster_lpips": 1.7},
    ("tgan_ada", "plain", 10, "source"): {"fid": 15.0, "target_rate": 0.9, "intra_cluster_lpips": 1.2},
    ("tgan_ada", "plain", 10, "nada_catchup"): {"fid": 14.0, "target_rate": 0.8, "intra_cluster_lpips": 1.3},
}
REAL = {"fid": 1.5, "target_rate": 0.99, "intra_cluster_lpips": 1.8}
GROUPS = {
    "ablation": [key for key in SCORES if key[0] != "tgan_ada"],
    "table1": [key for key in SCORES if key[0] != "nada"],
}
CLAIM = """
claims:
  diverse:
    sentence: The directional loss keeps a higher diversity.
    where: §4.1
    statistic: better
    metric: intra_cluster_lpips
    direction: higher
    margin: 0
    tasks: [dog2cat]
    ours: {method: nada, variant: all_layers}
    theirs: [{method: nada, variant: global}]
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="100"><rect width="300" height="100"/></svg>'


def folder_name(key: tuple) -> str:
    """The folder of a condition's runs."""
    method, variant, shots, start = key
    return f"{method}-{variant}" + (f"-{shots}shot" if shots else "") + ("" if start == "source" else f"-{start}")


def build(folder: Path, seeds: int) -> Path:
    """Write everything that the report reads; returns its spec."""
    results = folder / "results"
    _scores(results, seeds).to_csv(_made(results / "scores.csv"), index=False)
    for key in SCORES:
        _condition(results, key, seeds)
    _real(results)
    for name, keys in GROUPS.items():
        _group(results, name, keys, seeds)
    (folder / "claims.yaml").write_text(CLAIM, encoding="utf-8")
    words = ["--claims", folder / "claims.yaml", "--scores", results / "scores.csv", "--world", WORLD]
    assert claims.main([str(word) for word in [*words, "--out", results / "claims"]]) == 0
    spec = {
        "world": WORLD, "preset": "default", "device": "cpu", "resolution": PIXELS, "seeds": list(range(seeds)),
        "results": str(results), "groups": [f"{results}/scores/{name}.json" for name in GROUPS],
        "figures": [{"group": "ablation", "kind": "training_curves", "caption": "Loss over training.",
                     "prefix": f"{results}/figures/ablation_training_curves"}],
        "scores": f"{results}/scores.csv", "claims": f"{results}/claims.csv",
    }  # fmt: skip
    _made(results / "figures/ablation_training_curves.svg").write_text(SVG)
    (results / "report.json").write_text(json.dumps(spec))
    return results / "report.json"


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _scores(results: Path, seeds: int) -> pd.DataFrame:
    """Rows of the final models and of one snapshot; the values of seeds differ."""
    rows = []
    for (method, variant, shots, start), values in SCORES.items():
        for seed in range(seeds):
            for metric, mean in values.items():
                value = mean * (1 + 0.03 * np.sin(7 * seed + len(variant)))
                label = (WORLD, TASK, method, variant, shots, start, seed)
                rows.append((*label, "last", "final", metric, value, 100))
                if metric == "target_rate" and method == "nada":
                    rows += [(*label, step, "final", metric, value + gain, 20) for step, gain in (("4", 0.05), ("8", 0))]
    rows += [(WORLD, TASK, "real", "", 0, "source", 0, "last", "final", name, v, 50) for name, v in REAL.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _condition(results: Path, key: tuple, seeds: int) -> None:
    """Records of the runs, and their observation with pictures."""
    method, variant, shots, start = key
    trains = method not in ("source", "replay")
    arrays, runs, rng = {}, [], np.random.default_rng(len(folder_name(key)))
    for seed in range(seeds):
        name = f"{TASK}/{folder_name(key)}/seed{seed}"
        run = {"run": name, "parent": None, "code": "c0de", "device": "cpu", "torch": "2.x", "few_shot": None,
               "inputs": {"source": {"file": "dog.safetensors", "sha256": "ab" * 32}},
               "outputs": {"model.safetensors": "cd" * 32},
               "spec": {"method": method, "task": TASK, "variant": variant,
                        "hyperparameters": {"iterations": 240, "layers": {"k": 3}} if trains else {}}}  # fmt: skip
        cost = {"iterations": 240 if trains else 0, "images_seen": 960, "clip_calls": 5, "wall_seconds": 61.25,
                "peak_memory_bytes": 2**30, "commit": "0" * 40, "host": {"cpu": "CPU", "cpu_count": 2, "gpu": None}}  # fmt: skip
        for record, content in (("run", run), ("cost", cost)):
            _made(results / f"runs/{name}/{record}.json").write_text(json.dumps(content))
        arrays |= {
            f"seed{seed}/{kind}": rng.integers(0, 256, (PICTURES, PIXELS, PIXELS, 3), dtype=np.uint8)
            for kind in ("gallery", "source_gallery", "images", "source_images")
        }
        runs.append({"id": name, "seed": seed, "latent_seed": seed})
    meta = {"task": TASK, "method": method, "variant": variant, "shots": shots, "warm_start": start, "runs": runs,
            "gallery_psi": GALLERY_PSI, "counts": {"truncation_psi": 1.0}}  # fmt: skip
    save_observation(_made(results / f"observations/{TASK}/{folder_name(key)}.npz"), Observation(meta, arrays))


def _real(results: Path) -> None:
    images = np.full((PICTURES, PIXELS, PIXELS, 3), 200, dtype=np.uint8)
    meta = {"task": TASK, "method": "real"}
    save_observation(results / f"observations/{TASK}/real.npz", Observation(meta, {"half0/images": images}))


def _group(results: Path, name: str, keys: list[tuple], seeds: int) -> None:
    """The group's spec, and its tables as the workflow makes them."""
    rows = []
    for key in keys:
        method, variant, shots, start = key
        folders = [f"{results}/runs/{TASK}/{folder_name(key)}/seed{seed}" for seed in range(seeds)]
        runs = [{"seed": seed, "curves": f"{f}/curves.csv", "costs": [f"{f}/cost.json"]} for seed, f in enumerate(folders)]
        rows.append({"task": TASK, "method": method, "variant": variant, "shots": shots, "warm_start": start,
                     "observation": f"{results}/observations/{TASK}/{folder_name(key)}.npz", "runs": runs})  # fmt: skip
    group = {
        "name": name, "title": f"Title of {name}", "world": WORLD, "preset": "default", "device": "cpu",
        "tasks": {TASK: {"real": f"{results}/observations/{TASK}/real.npz"}}, "rows": rows,
        "table": ["fid", "target_rate", "intra_cluster_lpips"], "oracle": ["target_rate"],
        "grid": {"rows": PICTURES, "truncation_psi": GALLERY_PSI},
        **({"paper": "table1"} if name == "table1" else
           {"differences": [{"method": "nada", "baseline": "global", "variants": ["all_layers", "adaptive"]}]}),
    }  # fmt: skip
    path = _made(results / f"scores/{name}.json")
    path.write_text(json.dumps(group))
    words = ["--spec", str(path), "--scores", str(results / "scores.csv"), "--out"]
    assert tables.main([*words, str(_made(results / f"tables/{name}"))]) == 0
    if name == "table1":
        assert paper_table.main([*words, str(results / f"tables/{name}_paper")]) == 0
