"""The script on the residual stream reads each layer's input at the last prompt token."""

import sys
from pathlib import Path

import pytest
import torch

from pedro_bench.cli.hydra.compose import settings_of

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    sys.modules.pop("residual_norms", None)
    return __import__("residual_norms")


def test_norms_are_those_of_each_layers_input(script):
    settings = settings_of(["method=pedro", "task=rte"])
    rows = script.layers_of(settings, num_prompts=1)
    backbone = settings.backbone.load(device="cpu")
    seen = []
    for layer in backbone.decoder.layers:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args or (kwargs["hidden_states"],))[0]),
            with_kwargs=True,
        )
    from pedro_bench.data.splits import load_splits

    prompt = load_splits(settings.task, settings.data).train.examples[0].prompt
    with torch.no_grad():
        backbone.model(input_ids=torch.tensor([backbone.tokenizer(prompt)["input_ids"]]))
    assert len(rows) == len(seen) == settings.backbone.shape().num_layers
    for row, hidden in zip(rows, seen, strict=True):
        last = hidden[0, -1]
        assert row.l1 == pytest.approx(last.abs().sum().item(), rel=1e-5)
        assert row.l2 == pytest.approx(last.norm().item(), rel=1e-5)
        assert row.spread == 0.0  # one prompt is its own mean


def test_at_the_calm_rate_a_step_of_adam_moves_the_bottleneck_by_a_tenth_of_the_interval(script):
    hidden = torch.tensor([3.0, -5.0, 2.0])
    rate = script.Layer(l1=hidden.abs().sum().item(), l2=0.0, spread=0.0).calm_rate
    step = rate * hidden.sign()  # the update of Adam that moves z the most
    assert (hidden @ step).item() == pytest.approx(0.4)
