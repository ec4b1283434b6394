"""A method on a model in memory is what the same method is on the model's folder."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import pedro_bench
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import BackboneError, ConfigError, ContextError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.methods.full_ft import FullFineTuning
from pedro_bench.methods.pedro import Pedro
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded, collate

PEDRO = Pedro(
    name="pedro",
    label="PEDRO",
    r=4,
    roles=("query", "value", "ffn_up"),
    pooling="last",
    activation="rational",
)


@pytest.fixture
def model(tiny_folders):
    return AutoModelForCausalLM.from_pretrained(tiny_folders["llama"])


def moved(adapted):
    """Move every trained parameter from its start, the same way for each model."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return adapted


def test_loss_and_gradients_are_those_of_the_packages_own_path(model, tiny_folders):
    rows = [Encoded((1, 8, 10, 12), (4, 2), 0), Encoded((1, 9), (5, 6, 2), 1)]
    batch = collate(rows, pad_id=0)
    loaded = Pretrained(name="tiny", label="Tiny", path=str(tiny_folders["llama"])).load(
        device="cpu"
    )
    torch.manual_seed(0)
    own = moved(AdaptedModel(loaded, PEDRO))
    torch.manual_seed(0)
    adapted = moved(pedro_bench.attach(PEDRO, model))
    total, count = own(batch)
    (total / count).backward()
    mask_BT = (batch.attention_mask_BT).long()
    with adapted.context(batch.prompt_mask_BT).active():
        loss = model(batch.input_ids_BT, attention_mask=mask_BT, labels=batch.labels_BT).loss
    loss.backward()
    torch.testing.assert_close(loss, total / count)
    for (name, ours), (_, theirs) in zip(
        own.adapter.named_parameters(), adapted.adapter.named_parameters(), strict=True
    ):
        torch.testing.assert_close(theirs.grad, ours.grad, msg=name)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_transformers_generates_what_the_packages_own_decoding_does(model, tiny_folders, num_beams):
    tokenizer = AutoTokenizer.from_pretrained(tiny_folders["llama"], padding_side="left")
    adapted = moved(pedro_bench.attach(PEDRO, model, tokenizer))
    asked = tokenizer(["the cat sat on", "a dog"], return_tensors="pt", padding=True)
    with adapted.context(asked.attention_mask.repeat_interleave(num_beams, 0)).active():
        written = model.generate(
            input_ids=asked.input_ids,
            attention_mask=asked.attention_mask,
            num_beams=num_beams,
            max_new_tokens=6,
            do_sample=False,
        )
    texts = tokenizer.batch_decode(written[:, asked.input_ids.shape[1] :], skip_special_tokens=True)
    ids = [tuple(tokenizer(text).input_ids) for text in ("the cat sat on", "a dog")]
    prompts = [Encoded(prompt, (), row) for row, prompt in enumerate(ids)]
    ours = generate(adapted, prompts, num_beams=num_beams, max_new_tokens=6, batch_size=2)
    assert all(texts)
    assert texts == ours


def test_removal_gives_the_model_back(model):
    ids = torch.tensor([[1, 8, 10, 12]])
    before, weights = model(ids).logits, {n: p.clone() for n, p in model.named_parameters()}
    for method in (PEDRO, FullFineTuning(name="full_ft", label="Full-FT")):
        adapted = moved(pedro_bench.attach(method, model))
        with pytest.raises(InjectionError, match="one method at a time"):
            pedro_bench.attach(method, model)
        assert all(p.requires_grad for p in adapted.adapter.parameters())
        with adapted.context(torch.ones_like(ids)).active():
            assert not torch.equal(model(ids).logits, before)
        adapted.remove()
        assert torch.equal(model(ids).logits, before)
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())
    assert not any(p.requires_grad for p in model.parameters())


def test_a_call_outside_a_context_is_refused(model):
    pedro_bench.attach(PEDRO, model)
    with pytest.raises(ContextError, match="within a prompt context"):
        model(torch.tensor([[1, 8]]))


def test_what_is_no_method_or_no_model_is_refused(model):
    with pytest.raises(ConfigError, match="method must be a method's dataclass.*got str"):
        pedro_bench.attach("pedro", model)
    with pytest.raises(ConfigError, match="model must be a model of Transformers.*got Linear"):
        pedro_bench.attach(PEDRO, torch.nn.Linear(2, 2))
    with pytest.raises(
        BackboneError, match="must have the modules of the Llama family, got LlamaModel"
    ):
        pedro_bench.attach(PEDRO, model.model)
    assert pedro_bench.attach(PEDRO, model).backbone.revision == ""
