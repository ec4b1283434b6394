"""SSP against the equations of S3PET, written out once more on a backbone whose modules are replaced.

The reference shares no code with the package: it reads the adapter's parameters, solves for the shift
with a root finder, and puts weights, biases and adapters into modules of its own.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from pedro_bench.errors import ConfigError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import build_group, describe
from tests.tiny import build_method

R = 2
SCALE = 16 / 1
"""lora_alpha / lora_r of the authors' code (S3Delta: opendelta's default, and its structure files)."""
MODULES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "norm_0": "input_layernorm",
    "norm_1": "post_attention_layernorm",
}


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class Changed(nn.Module):
    """A module of the backbone with its candidates, each times its gate."""

    def __init__(
        self, module: nn.Module, own: dict[str, Tensor], z: Callable[[str], Tensor]
    ) -> None:
        super().__init__()
        self.module, self.own, self.z = module, own, z

    def forward(self, x: Tensor) -> Tensor:
        own, z = self.own, self.z
        weight = self.module.weight
        if weight.ndim == 1:
            change = z("scale") * own["scale.scale"] if "scale.scale" in own else 0
            eps = self.module.variance_epsilon
            y = (weight + change) * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)
        else:
            for k in range(own.get("lora.lora_A", weight[:0]).shape[0]):
                update = SCALE * torch.outer(own["lora.lora_B"][:, k], own["lora.lora_A"][k])
                weight = weight + z(f"lora_{k}") * update
            y = x @ weight.T
        if "bias.bias" in own:
            y = y + z("bias") * own["bias.bias"]
        if "adapter.up.left" in own:
            down = own["adapter.down.left"] @ own["adapter.down.right"]
            up = own["adapter.up.left"] @ own["adapter.up.right"]
            inner = gelu(y @ down + own["adapter.down.bias"])
            y = y + z("adapter") * (inner @ up + own["adapter.up.bias"])
        return y


def reference_gates(
    alpha: Tensor, sizes: list[int], budget: float, beta: float, noise: Tensor | None
) -> Tensor:
    """p, or z where noise is given; with the gradient of the shifted global sigmoid."""
    a = alpha.detach().double()
    n = torch.tensor(sizes, dtype=torch.float64)

    def excess(b: float) -> float:
        return float((n / (1 + torch.exp(-(a - b) / beta))).sum() - budget)

    b = brentq(excess, float(a.min()) - 50 * beta, float(a.max()) + 50 * beta, xtol=1e-13)
    s = torch.sigmoid((alpha - b) / beta)
    p = s * s.sum().detach() / s.sum()
    if noise is None:
        return p
    return torch.sigmoid(torch.log(noise * p / ((1 - noise) * (1 - p))))


def replaced(backbone: Any, state: dict[str, Tensor], z: Callable[[str, str], Tensor]) -> Any:
    """Put every place's candidates into a backbone."""
    decoder = backbone.model.model
    places = {"norm": (decoder, "norm")}
    for layer, block in enumerate(decoder.layers):
        for role, path in MODULES.items():
            parent, _, leaf = path.rpartition(".")
            places[f"layers.{layer}.{role}"] = (block.get_submodule(parent), leaf)
    for place, (parent, leaf) in places.items():
        own = {
            name.removeprefix(f"{place}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{place}.")
        }
        gate = lambda kind, place=place: z(place, kind)  # noqa: E731
        setattr(parent, leaf, Changed(getattr(parent, leaf), own, gate))
    return backbone.model


def reference_loss(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    logits = model(input_ids=batch.input_ids_BT).logits[:, :-1][batch.labels_BT[:, 1:] != -100]
    labels = batch.labels_BT[:, 1:][batch.labels_BT[:, 1:] != -100]
    chosen = logits.log_softmax(-1)[torch.arange(len(labels)), labels]
    return logits, -chosen.sum()


def searching(load_tiny: Callable[..., Any], **changes: Any) -> AdaptedModel:
    torch.manual_seed(3)
    adapted = AdaptedModel(load_tiny(), build_method("ssp", r=R, reduction_factor=8, **changes))
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return adapted


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize(("budget", "beta"), [(0.3, 1.0), (2000, 0.5)])
def test_search_equals_the_equations_with_its_gradients(
    load_tiny: Callable[..., Any],
    make_batch: Callable[..., Any],
    is_training: bool,
    budget: float,
    beta: float,
) -> None:
    batch = make_batch()
    adapted = searching(load_tiny, budget=budget, beta=beta)
    adapted.train(is_training)
    space = adapted.method.candidates(adapted.backbone.shape)
    state = {
        name: parameter.detach().clone().requires_grad_()
        for name, parameter in adapted.adapter.named_parameters()
    }
    sizes = [candidate.size for candidate in space]
    parameters = budget if budget > 1 else int(budget * sum(sizes))
    noise = adapted.adapter.gates.noise_G.clone() if is_training else None
    gates = reference_gates(state["gates.alpha"], sizes, parameters, beta, noise)
    order = {candidate.name: index for index, candidate in enumerate(space)}
    model = replaced(load_tiny(), state, lambda place, kind: gates[order[f"{place}.{kind}"]])
    logits, loss = reference_loss(model, batch)
    given, _ = adapted.answer_logits(batch)
    torch.testing.assert_close(given, logits, rtol=0, atol=5e-5)
    own_loss, _ = adapted(batch)
    own_loss.backward()
    loss.backward()
    for name, parameter in adapted.adapter.named_parameters():
        expected = state[name].grad
        assert expected.abs().sum() > 0, name
        torch.testing.assert_close(
            parameter.grad, expected, rtol=2e-3, atol=2e-5 * float(1 + expected.abs().max())
        )


def test_found_structure_equals_the_candidates_without_gates(
    load_tiny: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    searched = searching(load_tiny, budget=0.4)
    found = searched.method.following(searched.adapter)
    adapted = AdaptedModel(load_tiny(), found)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model = replaced(
        load_tiny(), dict(adapted.adapter.named_parameters()), lambda *_: torch.ones(())
    )
    logits, _ = reference_loss(model, batch)
    torch.testing.assert_close(adapted.answer_logits(batch)[0], logits, rtol=0, atol=5e-5)


def test_an_older_runs_settings_keep_the_scale_it_was_trained_with() -> None:
    settings = describe(build_method("ssp"))
    assert settings["alpha"] == SCALE
    assert build_group("method", settings) == build_method("ssp")
    del settings["alpha"]
    assert build_group("method", settings) == build_method("ssp", alpha=1.0)


@pytest.mark.parametrize("alpha", [0, -16.0, "16", float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(alpha: Any) -> None:
    with pytest.raises(ConfigError, match=r"method\.alpha must be a number above 0, got"):
        build_method("ssp", alpha=alpha)


def test_the_best_that_fit_are_kept_and_meet_the_budget(load_tiny: Callable[..., Any]) -> None:
    searched = searching(load_tiny, budget=0.4)
    shape = searched.backbone.shape
    found = searched.method.following(searched.adapter)
    space = searched.method.candidates(shape)
    alpha = searched.adapter.gates.alpha.tolist()
    limit = int(0.4 * sum(candidate.size for candidate in space))
    expected, left = set(), limit
    for _, candidate in sorted(zip(alpha, space, strict=True), key=lambda pair: -pair[0]):
        if candidate.size <= left:
            left -= candidate.size
            expected.add(candidate.name)
    assert set(found.structure) == expected
    count = found.count(shape).trainable
    assert limit - min(candidate.size for candidate in space) < count + left == limit
    assert found.count(shape).matrices == count <= searched.method.count(shape).trainable == limit
    retrained = AdaptedModel(load_tiny(), found)
    assert sum(parameter.numel() for parameter in retrained.adapter.parameters()) == count


def test_start_is_the_authors(load_tiny: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    adapted = AdaptedModel(load_tiny(), build_method("ssp", r=R, reduction_factor=8))
    for name, parameter in adapted.adapter.named_parameters():
        leaf, highest = name.rpartition(".")[2], float(parameter.detach().abs().max())
        if leaf in ("alpha", "lora_B", "bias", "scale"):
            assert highest == 0, name
        else:  # A: Kaiming-uniform with a = sqrt(5); adapters: Glorot-uniform
            rows, columns = parameter.shape
            bound = columns**-0.5 if leaf == "lora_A" else math.sqrt(6 / (rows + columns))
            assert 0.5 * bound < highest <= bound, name
