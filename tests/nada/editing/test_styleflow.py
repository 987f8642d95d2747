"""StyleFlow: layers, densities against closed forms, inverse, gradients, training, edits, the public file."""

from collections import OrderedDict

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file

from nada.editing.styleflow import (
    ConcatSquash,
    MovingBatchNorm,
    Solver,
    StyleFlow,
    StyleFlowHyperparameters,
    VectorField,
    change_attributes,
    edited_slots,
    load_styleflow,
    train_styleflow,
)
from nada.run.errors import UserError

FINE = Solver(tolerance=1e-8)


@torch.no_grad()
def random_flow(dim=4, context=3, hidden=(8, 8), blocks=1, seed=0, scale=0.5):
    """A flow whose layers, times and batch norms are all far from where they start; double precision.

    scale: of the weights; at 0.5 a flow of 16 features stretches space a hundredfold.
    """
    torch.manual_seed(seed)
    flow = StyleFlow(dim, context, list(hidden), blocks).double().eval()
    for name, tensor in flow.state_dict().items():
        if name.endswith("sqrt_end_time"):
            tensor.fill_(1.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("step"):
            continue
        else:
            tensor.copy_(scale * torch.randn_like(tensor))
    return flow


def codes(count=5, dim=4, context=3):
    torch.manual_seed(1)
    return torch.randn(count, dim).double(), torch.randn(count, context).double()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The network


def test_a_layer_is_gated_and_shifted_by_time_and_attributes():
    torch.manual_seed(0)
    layer, x, c = ConcatSquash(4, 3, 2), torch.randn(5, 4), torch.randn(5, 3)
    tensors = {name: tensor.detach().numpy() for name, tensor in layer.named_parameters()}
    gate = sigmoid(c.numpy() @ tensors["_hyper_gate.weight"].T + tensors["_hyper_gate.bias"])
    linear = x.numpy() @ tensors["_layer.weight"].T + tensors["_layer.bias"]
    expected = linear * gate + c.numpy() @ tensors["_hyper_bias.weight"].T
    np.testing.assert_allclose(layer(x, c).detach().numpy(), expected, atol=1e-6)


def test_the_field_reads_time_before_the_attributes_and_has_tanh_between_its_layers():
    torch.manual_seed(0)
    field, y, a = VectorField(3, [4, 5], 2), torch.randn(6, 3), torch.randn(6, 2)
    c = torch.cat([torch.full((6, 1), 0.3), a], dim=1)
    first, second, third = field.layers
    expected = third(torch.tanh(second(torch.tanh(first(y, c)), c)), c)
    torch.testing.assert_close(field(y, torch.tensor(0.3), a), expected)


def test_batch_norms_use_the_statistics_from_before_the_batch_and_follow_it():
    norm, x = MovingBatchNorm(3).double(), 2 + 3 * torch.randn(20, 3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.1, -0.2, 0.3]))
        norm.bias.copy_(torch.tensor([1.0, 2, 3]))
    mean, var = np.zeros(3), np.ones(3)
    for step in range(3):
        y, log_det = norm(x, torch.zeros(20).double())
        scale = np.exp(norm.weight.detach().numpy()) / np.sqrt(var + 1e-4)
        expected = (x.numpy() - mean) * scale + norm.bias.detach().numpy()
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-9)
        np.testing.assert_allclose(log_det.detach().numpy(), np.log(scale).sum(), rtol=1e-9)
        mean = mean + 0.1 * (x.numpy().mean(axis=0) - mean)
        var = var + 0.1 * (x.numpy().var(axis=0, ddof=1) - var)
        assert norm.step.item() == step + 1
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-9)
    norm.eval()
    y, log_det = norm(x, torch.zeros(20).double())
    back, none = norm(y, log_det, reverse=True)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(none, torch.zeros(20).double())
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-9)  # eval moves nothing


# Densities


def test_a_linear_flow_is_the_matrix_exponential_and_its_density_the_gaussian_s():
    flow = StyleFlow(4, 3, [], 1).double().eval()
    w, a = codes()
    with torch.no_grad():
        flow.chain[1].sqrt_end_time.fill_(1.1)
        for part in flow.chain[1].parameters():
            if part.ndim:
                part.copy_(0.5 * torch.randn_like(part))
        layer = flow.chain[1].odefunc["diffeq"].layers[0]
        layer._hyper_gate.weight[:, 0] = 0  # nothing depends on time
        layer._hyper_bias.weight[:, 0] = 0
        z, found = flow.encode(w, a, FINE).numpy(), flow.log_prob(w, a, FINE).numpy()
    tensors = {name: tensor.detach().numpy() for name, tensor in layer.named_parameters()}
    end, norm = 1.1**2, -0.5 * 4 * np.log(1 + 1e-4)  # of one batch norm that has seen nothing
    for i in range(len(w)):
        gate = sigmoid(tensors["_hyper_gate.weight"][:, 1:] @ a[i].numpy() + tensors["_hyper_gate.bias"])
        matrix = gate[:, None] * tensors["_layer.weight"]
        shift = gate * tensors["_layer.bias"] + tensors["_hyper_bias.weight"][:, 1:] @ a[i].numpy()
        # dy/dt = M y + k as one exponential of [[M, k], [0, 0]]
        joint = np.zeros((5, 5))
        joint[:4, :4], joint[:4, 4] = matrix, shift
        start = w[i].numpy() / np.sqrt(1 + 1e-4)
        expected = (scipy.linalg.expm(end * joint) @ np.append(start, 1))[:4] / np.sqrt(1 + 1e-4)
        np.testing.assert_allclose(z[i], expected, atol=1e-6)
        log_normal = -0.5 * (expected @ expected + 4 * np.log(2 * np.pi))
        log_det = end * np.trace(matrix) + 2 * norm
        np.testing.assert_allclose(found[i], log_normal + log_det, atol=1e-6)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_log_density_is_that_of_the_whole_map_s_jacobian(blocks):
    flow, (w, a) = random_flow(blocks=blocks), codes(1)
    found = flow.log_prob(w, a, FINE).detach()
    for i in range(len(w)):
        row, context = w[i : i + 1], a[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda x, context=context: flow.encode(x[None], context, FINE)[0], row[0]
        )
        z = flow.encode(row, context, FINE)[0].detach()
        normal = torch.distributions.Normal(0, 1).log_prob(z).sum()
        torch.testing.assert_close(
            found[i], normal + torch.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-6
        )


def test_a_density_of_one_feature_integrates_to_1_for_every_attribute():
    flow = random_flow(dim=1, context=2, hidden=(6,), seed=3)
    grid = torch.linspace(-40, 40, 4001).double()[:, None]
    for attributes in ([0.0, 0.0], [1.5, -2.0]):
        context = torch.tensor([attributes]).double().expand(len(grid), 2)
        with torch.no_grad():
            density = flow.log_prob(grid, context, Solver(1e-7)).exp()
        assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1, abs=1e-3)


def test_hutchinson_s_estimate_is_the_exact_trace_on_average():
    flow, (w, a) = random_flow(hidden=()), codes(1)
    count = 3000
    rows, context = w.expand(count, 4), a.expand(count, 3)
    with torch.no_grad():
        exact = flow.log_prob(w, a, FINE)
        stream = torch.Generator().manual_seed(0)
        drawn = flow.log_prob(rows, context, Solver(1e-6, "hutchinson", stream=stream))
        again = flow.log_prob(
            rows, context, Solver(1e-6, "hutchinson", stream=torch.Generator().manual_seed(0))
        )
    assert torch.equal(drawn, again) and drawn.std() > 0.01
    error = (drawn.mean() - exact).abs().item()
    assert error < 4 * drawn.std().item() / count**0.5


# Inverse


@pytest.mark.parametrize("blocks", [1, 2])
def test_decode_is_the_inverse_of_encode_within_1e_4(blocks):
    flow, (w, a) = random_flow(dim=16, hidden=(32, 32), blocks=blocks, scale=0.2), codes(64, dim=16)
    with torch.no_grad():
        z = flow.encode(w, a)
        back = flow.decode(z, a)
    assert (z - w).abs().max() > 0.5  # the flow does something
    assert (back - w).abs().max() < 1e-4


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_edit_without_a_change_gives_codes_back_though_the_flow_stretches_space(blocks):
    flow = random_flow(dim=16, hidden=(32, 32), blocks=blocks).float()
    w, a = (x.float() for x in codes(64, dim=16))
    back = change_attributes(flow, w[:, None], a, a)[:, 0]
    assert (back - w).abs().max() < 1e-4
    assert flow.chain[0].weight.dtype == torch.float32  # the flow itself stays as it was


def test_slots_of_w_plus_codes_are_codes_of_their_own():
    flow, (_, a) = random_flow(), codes(2)
    w_plus = torch.randn(2, 3, 4).double()
    with torch.no_grad():
        z = flow.encode(w_plus, a, FINE)
        apart = torch.stack([flow.encode(w_plus[:, slot], a, FINE) for slot in range(3)], dim=1)
        density = flow.log_prob(w_plus, a, FINE)
    torch.testing.assert_close(z, apart, rtol=0, atol=1e-6)
    torch.testing.assert_close(density[:, 1], flow.log_prob(w_plus[:, 1], a, FINE).detach())
    torch.testing.assert_close(flow.decode(z, a, FINE), w_plus, rtol=0, atol=1e-6)


# Gradients


def test_both_ways_to_the_gradient_agree_with_each_other_and_with_finite_differences():
    flow, (w, a) = random_flow(dim=3, hidden=(5,)), codes(2, dim=3)
    gradients = []
    for adjoint in (False, True):
        flow.zero_grad()
        flow.log_prob(w, a, Solver(1e-8, adjoint=adjoint)).mean().backward()
        gradients.append({name: p.grad.clone() for name, p in flow.named_parameters()})
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-4, atol=1e-6)
    named, step = dict(flow.named_parameters()), 1e-4
    places = [("chain.1.sqrt_end_time", ()), ("chain.0.weight", (1,)), ("chain.2.bias", (0,))]
    places += [("chain.1.odefunc.diffeq.layers.0._hyper_gate.weight", (2, 0))]
    for name, place in places:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                named[name][place] += sign * step
                values.append(flow.log_prob(w, a, FINE).mean().item())
                named[name][place] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert gradients[0][name][place].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


# Training and editing


def planted():
    """Codes that lie at a planted place for each attribute, and the attributes."""
    torch.manual_seed(2)
    a = torch.randn(600, 2)
    directions = torch.tensor([[2.0, 0, 0], [0, -1.0, 1.0]])
    return a @ directions + 0.3 * torch.randn(600, 3), a, directions


SMALL = {"width": 12, "depth": 1, "batch": 64, "lr": 0.02, "adjoint": False, "tolerance": 1e-3}


@pytest.fixture(scope="module")
def trained():
    """A flow of the planted codes, its losses, and the global stream before and after."""
    w, a, _ = planted()
    torch.manual_seed(5)
    losses, before = [], torch.get_rng_state()
    hparams = StyleFlowHyperparameters(iterations=100, **SMALL)
    flow = train_styleflow(w, a, hparams, seed=0, on_step=lambda _, loss: losses.append(loss))
    return flow, losses, torch.equal(before, torch.get_rng_state())


@pytest.mark.slow  # 100 steps
def test_training_raises_the_likelihood_and_leaves_the_global_stream(trained):
    flow, losses, untouched = trained
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) - 1 and untouched and not flow.training
    w, a, _ = planted()
    with torch.no_grad():
        own, others = flow.log_prob(w, a).mean(), flow.log_prob(w, a.flip(0)).mean()
        z = flow.encode(w, a)
    assert own > others + 2  # codes are likelier under their own attributes
    assert np.abs(np.corrcoef(z.T, a.T)[:3, 3:]).max() < 0.5  # z tells less of them
    assert np.abs(np.corrcoef(w.T, a.T)[:3, 3:]).max() > 0.9


@pytest.mark.slow  # as above
def test_an_edit_moves_codes_to_where_the_changed_attribute_lies(trained):
    w, a, directions = planted()
    w_plus, changed = w[:100, None].expand(-1, 4, -1).contiguous(), a[:100].clone()
    changed[:, 0] += 0.5
    moved = change_attributes(trained[0], w_plus, a[:100], changed) - w_plus
    expected = (0.5 * directions[0]).expand_as(moved)
    assert (moved - expected).abs().mean() < 0.2
    assert moved[..., 0].mean().item() == pytest.approx(1, abs=0.2)


def test_slots_outside_the_range_stay():
    flow, (w, a) = random_flow(), codes(8)
    w_plus = w[:, None].expand(-1, 4, -1).contiguous()
    moved = change_attributes(flow, w_plus, a, a + 1, range(1, 3))
    assert torch.equal(moved[:, [0, 3]], w_plus[:, [0, 3]])
    assert (moved[:, 1:3] - w_plus[:, 1:3]).abs().amax(dim=(1, 2)).min() > 0.1
    with pytest.raises(UserError, match=r"slots 3..4 asked, but the codes have 4"):
        change_attributes(flow, w_plus, a, a, range(3, 5))


def test_the_same_seed_gives_the_same_flow():
    w, a, _ = planted()
    hparams = StyleFlowHyperparameters(iterations=2, **SMALL)
    first, same, other = (train_styleflow(w, a, hparams, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_public_ranges_of_slots_are_cut_to_the_generator():
    assert edited_slots("yaw", 18) == range(4) and edited_slots("beard", 18) == range(5, 10)
    assert edited_slots("gender", 6) == range(6) and edited_slots("age", 8) == range(4, 8)
    with pytest.raises(UserError, match="'light' edits the slots from 7, but this generator has 6"):
        edited_slots("light", 6)
    with pytest.raises(UserError, match="no slots are known for the attribute 'smile'"):
        edited_slots("smile", 18)


@pytest.mark.parametrize(
    "w, a, message",
    [
        (torch.zeros(70, 3), torch.zeros(69, 2), r"codes \[70, 3\] and attributes \[69, 2\] given"),
        (torch.zeros(70, 3), torch.full((70, 2), torch.nan), "attributes has values that are not finite"),
        (torch.zeros(7, 3), torch.zeros(7, 2), "7 codes given, fewer than a batch of 64"),
    ],
)
def test_codes_that_cannot_be_trained_on_are_one_sentence(w, a, message):
    with pytest.raises(UserError, match=message):
        train_styleflow(w, a, StyleFlowHyperparameters(iterations=1, **SMALL))


def test_codes_of_another_space_are_one_sentence():
    flow = StyleFlow(4, 3, [8])
    for w, a in ((torch.zeros(2, 5), torch.zeros(2, 3)), (torch.zeros(2, 4), torch.zeros(2, 2))):
        with pytest.raises(UserError, match=r"takes \[N,4\] or \[N,L,4\], and \[N,3\]"):
            flow.encode(w, a)


# The public file


def public_names(blocks=1, layers=6):
    """Names in the public checkpoint, by module/{flow,cnf,normalization,odefunc,diffeq_layers}.py."""
    names = []
    for i in range(2 * blocks + 1):
        if i % 2 == 0:
            parts = ("weight", "bias", "step", "running_mean", "running_var")
            names += [f"chain.{i}.{part}" for part in parts]
            continue
        names += [f"chain.{i}.sqrt_end_time", f"chain.{i}.odefunc._num_evals"]
        for layer in range(layers):
            parts = ("_layer.weight", "_layer.bias", "_hyper_bias.weight", "_hyper_gate.weight", "_hyper_gate.bias")
            names += [f"chain.{i}.odefunc.diffeq.layers.{layer}.{part}" for part in parts]
    return names


def test_the_public_architecture_has_the_public_names_and_shapes():
    with torch.device("meta"):
        state = StyleFlow(512, 17, [512] * 5).state_dict()
    counter = "chain.1.odefunc._num_evals"
    assert set(state) == set(public_names()) - {counter}
    shapes = {name.removeprefix("chain.1.odefunc.diffeq.layers.5."): list(t.shape) for name, t in state.items()}
    assert shapes["_hyper_gate.weight"] == [512, 18] and shapes["_layer.weight"] == [512, 512]
    assert shapes["chain.0.step"] == [1] and shapes["chain.1.sqrt_end_time"] == []


@pytest.mark.parametrize("form", ["public", "safetensors"])
def test_a_file_gives_the_flow_that_was_saved(form, tmp_path):
    flow, (w, a) = random_flow(hidden=(6, 5), blocks=2).float(), codes()
    state = OrderedDict((name, tensor.clone()) for name, tensor in flow.state_dict().items())
    path = tmp_path / "modellarge10k.pt"
    if form == "public":
        state["chain.1.odefunc._num_evals"] = state["chain.3.odefunc._num_evals"] = torch.tensor(20.0)
        torch.save(state, path)
    else:
        save_file(state, path)
    before = torch.get_rng_state()
    found = load_styleflow(path)
    assert torch.equal(before, torch.get_rng_state())
    assert found.config == {"dim": 4, "context": 3, "hidden": [6, 5], "blocks": 2}
    w, a = w.float(), a.float()
    assert torch.equal(found.encode(w, a), flow.encode(w, a).detach()) and not found.training


@pytest.mark.parametrize("damage", ["missing", "shape", "other", "nan"])
def test_a_file_that_is_no_flow_is_one_sentence(damage, tmp_path):
    state = {name: tensor.clone() for name, tensor in StyleFlow(4, 3, [6]).state_dict().items()}
    if damage == "missing":
        del state["chain.2.bias"]
    elif damage == "shape":
        state["chain.0.weight"] = torch.zeros(5)
    elif damage == "nan":
        state["chain.0.weight"][0] = torch.nan
    else:
        state = {"weight": torch.zeros(3)}
    path = tmp_path / "flow.safetensors"
    save_file(state, path)
    message = "not finite" if damage == "nan" else "holds no StyleFlow, or not all of one"
    with pytest.raises(UserError, match=message):
        load_styleflow(path)
