"""The adversarial methods: losses against constructed cases, official switches, warm starts."""

import json

import pytest
import torch

from baselines.adversarial.few_shot import FewShotHyperparameters
from baselines.adversarial.warm_starts import WARM_STARTS
from baselines.freezed import freeze, published_blocks
from baselines.minegan import MineGanHyperparameters
from nada.run.artifact import load_artifact
from nada.run.errors import UserError
from nada.stylegan2.ada import AdaptiveAugment
from nada.stylegan2.adversarial import AdversarialTrainer
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.source_model import load_source

QUICK = {"iterations": 24, "batch": 2, "snapshots": 2, "checkpoint_every": 0}


def few_shot(world, out, method="tgan", parent=None, **changes) -> int:
    hparams = {**QUICK, **changes.pop("hyperparameters", {})}
    file = world.run_spec("v", method=method, shots=3, hyperparameters=hparams, **changes)
    return world.adapt(out, file, parent)


def curves(world, out) -> list[dict]:
    header, *rows = (world.folder / out / "curves.csv").read_text().splitlines()
    return [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]


# --- what all share


def test_one_rule_scales_every_length():
    hparams = FewShotHyperparameters(iterations=250)
    assert hparams.length("ema_kimg") == 0.0625
    assert MineGanHyperparameters(250).length("miner_iterations") == 50
    assert hparams.length("catchup_steps") == 10  # the floor; the rule says 2.5
    assert FewShotHyperparameters(iterations=2000).length("catchup_steps") == 20
    assert hparams.training().ema_kimg == pytest.approx(0.0625)
    assert hparams.training().g_lr == 0.002  # rates stay


def test_a_length_of_zero_stays_zero_at_any_length_of_the_run():
    """docs/departures.md names catchup_steps: 0 as the switch of the catch-up; it has a floor else."""
    for iterations in (24, 240, 5000):
        assert FewShotHyperparameters(iterations, catchup_steps=0).length("catchup_steps") == 0
        assert MineGanHyperparameters(iterations, miner_iterations=0).length("miner_iterations") == 0


def test_without_catch_up_steps_g_trains_from_the_first_step(world, nada_parent):
    file = world.run_spec(
        "v", method="tgan", shots=3, warm_start="nada_catchup", parent=nada_parent["id"],
        hyperparameters={**QUICK, "catchup_steps": 0},
    )  # fmt: skip
    assert world.adapt("none", file, nada_parent["out"]) == 0
    assert all(row["g_loss"] for row in curves(world, "none"))


def test_the_order_of_the_images_is_a_switch_of_every_adversarial_method(world):
    """Three images in batches of two: an epoch is one batch, so the runs soon see others."""
    for out, own in (("default", {}), ("epochs", {"sampling": "epochs"}), ("replacement", {"sampling": "replacement"})):  # fmt: skip
        assert few_shot(world, out, hyperparameters={"iterations": 6, **own}) == 0
    default, epochs, replacement = (load_artifact(o).tensors() for o in ("default", "epochs", "replacement"))  # fmt: skip
    assert all(torch.equal(default[name], tensor) for name, tensor in epochs.items())
    assert any(not torch.equal(default[name], tensor) for name, tensor in replacement.items())


def test_both_the_average_and_the_raw_generator_are_kept(world):
    assert few_shot(world, "run") == 0
    model = load_artifact(world.folder / "run")
    raw = model.unaveraged()
    z = torch.randn(2, 8)
    assert not torch.equal(raw.sample(z), model.sample(z))
    assert model.discriminator is None
    with pytest.raises(UserError, match="no raw generator"):
        raw.unaveraged()


@pytest.mark.parametrize("method", ["tgan_ada", "minegan", "ojha"])
def test_half_precision_trains_every_kind_of_method_and_changes_it(world, method):
    for out, kind in (("full", "fp32"), ("half", "mixed")):
        hparams = {"iterations": 6, "snapshots": 0, "precision": kind}
        assert few_shot(world, out, method, hyperparameters=hparams) == 0
    full, half = (load_artifact(world.folder / out).tensors() for out in ("full", "half"))
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
    assert any(not torch.equal(half[name], tensor) for name, tensor in full.items())
    first, same = curves(world, "full")[0], curves(world, "half")[0]
    assert float(same["d_loss"]) == pytest.approx(float(first["d_loss"]), rel=0.02)


def test_a_batch_that_does_not_fit_the_memory_is_one_sentence(world, monkeypatch, capsys):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Discriminator, "forward", full)
    assert few_shot(world, "run") == 2
    assert capsys.readouterr().err == (
        "error: variant 'v': a batch of 2 images does not fit this device's memory (2.00 GiB more "
        "were requested); set a smaller batch, or precision to 'mixed'.\n"
    )


def test_where_nothing_waits_the_same_run_gives_the_same_bytes(world, monkeypatch):
    """As on a GPU: losses are checked later, and ADA reads its number itself."""
    assert few_shot(world, "now", "tgan_ada") == 0
    made = AdversarialTrainer.__init__

    def late(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.waits = False

    monkeypatch.setattr(AdversarialTrainer, "__init__", late)
    assert few_shot(world, "late", "tgan_ada") == 0
    assert world.bytes_of("late") == world.bytes_of("now")


# --- warm starts


def start_of(world, out) -> dict:
    """The model that a run had before its first step."""
    return load_artifact(world.folder / out, step=0).tensors()


def test_every_warm_start_begins_where_its_parent_ended(world, nada_parent):
    source, adapted = load_source("weights/dog.safetensors"), load_artifact("nada")
    keep = {"snapshots": [0]}
    assert few_shot(world, "plain", hyperparameters=keep) == 0
    assert few_shot(world, "warm", parent="nada", hyperparameters=keep, warm_start="nada") == 0
    for out, G in (("plain", source.G), ("warm", adapted.generator)):
        found = start_of(world, out)
        for name, tensor in G.state_dict().items():
            assert torch.equal(found[f"raw.{name}"], tensor), (out, name)


def test_catching_up_trains_d_alone_within_the_budget(world, nada_parent):
    keep = {"snapshots": [10, 11]}
    code = few_shot(world, "run", parent="nada", hyperparameters=keep, warm_start="nada_catchup")
    assert code == 0
    adapted = load_artifact("nada").generator.state_dict()
    at_10 = load_artifact("run", step=10).tensors()
    at_11 = load_artifact("run", step=11).tensors()
    assert all(torch.equal(at_10[f"raw.{name}"], t) for name, t in adapted.items())
    assert any(not torch.equal(at_11[f"raw.{name}"], t) for name, t in adapted.items())
    rows = curves(world, "run")
    assert len(rows) == QUICK["iterations"]
    assert all(row["d_loss"] for row in rows)
    assert not any(row["g_loss"] for row in rows[:10]) and all(row["g_loss"] for row in rows[10:])


def test_a_fine_tuned_pair_hands_on_its_discriminator(world, nada_parent):
    file = world.run_spec(
        "from_nada", method="finetune_gd", parent=nada_parent["id"], hyperparameters=QUICK
    )
    assert world.adapt("pair", file, "nada") == 0
    pair = load_artifact("pair")
    assert pair.discriminator is not None
    code = few_shot(
        world, "run", parent="pair", hyperparameters={"snapshots": [0]}, warm_start="nada_finetuned_gd"
    )
    assert code == 0
    found = start_of(world, "run")
    assert all(torch.equal(found[f"raw.{n}"], t) for n, t in pair.raw.state_dict().items())
    record = json.loads((world.folder / "run/run.json").read_text())
    assert record["parent"]["run"] == "dog2cat/finetune_gd-from_nada/seed0"


def test_impossible_starts_are_refused_in_one_sentence(world, nada_parent, capsys):
    cases = {
        "no warm start 'nda'": {"warm_start": "nda"},
        "needs a parent run": {"warm_start": "nada"},
        "needs a run of finetune_gd": {"warm_start": "nada_finetuned_gd", "parent": "nada"},
        "its warm start is 'source'": {"parent": "nada"},
        "only 10 iterations": {"warm_start": "nada_catchup", "parent": "nada", "hyperparameters": {"iterations": 10}},
    }  # fmt: skip
    for message, changes in cases.items():
        assert few_shot(world, "bad", **changes) == 2
        assert message in capsys.readouterr().err, message
    assert set(WARM_STARTS) == {"source", "nada", "nada_catchup", "nada_finetuned_gd"}


# --- TGAN + ADA, FreezeD


def test_p_follows_the_signs_that_the_curves_hold(world):
    assert few_shot(world, "run", "tgan_ada", hyperparameters={"ada_kimg": 50.0}) == 0
    pipe, moved = AdaptiveAugment(50.0 * QUICK["iterations"] / 5000), set()
    for row in curves(world, "run"):
        pipe.follow(float(row["real_sign"]), QUICK["batch"])
        assert float(row["ada_p"]) == pytest.approx(pipe.p)
        moved.add(pipe.p)
    assert len(moved) > 1  # p did move


@pytest.mark.parametrize(
    ("switch", "kimg"), [({"ada_warp": "official"}, 20.0), ({"ada_p_limit": "official"}, 0.1)]
)
def test_every_switch_of_ada_changes_a_run(world, switch, kimg):
    """The speed lets p rise in the first case, and reach 1 in the second."""
    for out, own in (("paper", {}), ("official", switch)):
        own = {"iterations": 16, "snapshots": 0, "ada_kimg": kimg, "ada_target": -1.0, **own}
        assert few_shot(world, out, "tgan_ada", hyperparameters=own) == 0
    paper, official = (load_artifact(world.folder / out).tensors() for out in ("paper", "official"))
    rises = [float(curves(world, out)[-1]["ada_p"]) for out in ("paper", "official")]
    if "ada_warp" in switch:
        assert any(not torch.equal(paper[name], tensor) for name, tensor in official.items())
    else:
        assert rises[0] == 1.0 < rises[1]


def test_freezed_leaves_the_frozen_part_as_it_was():
    D = Discriminator(16, channel_base=128, channel_max=8)
    freeze(D, 1)
    frozen = {name for name, p in D.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in D.named_parameters() if n.startswith(("from_rgb", "blocks.0"))}
    with pytest.raises(UserError, match="2 residual blocks; set it to 0..2"):
        freeze(D, 3)
    assert [published_blocks(side) for side in (8, 16, 32, 256, 512)] == [0, 0, 1, 4, 5]
    larger = Discriminator(32, channel_base=128, channel_max=8)
    freeze(larger, "published")
    frozen = {name for name, p in larger.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in larger.named_parameters() if n.startswith(("from_rgb", "blocks.0"))}  # fmt: skip
    free = Discriminator(16, channel_base=128, channel_max=8)
    freeze(free, 0)
    assert all(p.requires_grad for p in free.parameters())
