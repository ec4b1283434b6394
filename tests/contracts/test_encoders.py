"""Contract of encoders: what they are given, their head, and every method on them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from pedro_bench.data.text_pairs import encode_pairs
from pedro_bench.errors import BackboneError, ConfigError, InjectionError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.labelling import label
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.protocols.batch import Batch, Encoded
from pedro_bench.protocols.head import PARTS_OF_ONE, Head
from pedro_bench.protocols.task import Example, Part
from tests.tiny import ENCODERS, METHOD_NAMES, build_method

LABELS = Head(labels=("yes", "no", "good"))
NUMBER = Head(least=-1.0, most=5.0)
QUICK = ("pedro", "lora", "red", "bitfit", "prefix_tuning", "prompt_tuning", "lpt", "full_ft")

every_encoder = pytest.mark.parametrize("name", sorted(ENCODERS))


def examples(*pairs: tuple[str, ...], answer: str = "yes") -> list[Example]:
    return [
        Example(
            (*(Part(text) for text in pair), Part("answer", is_template=True)),
            answer,
            (answer,),
            "",
        )
        for pair in pairs
    ]


def make(head: Head, codes: list[int], lengths: tuple[int, ...]) -> Batch:
    """Return texts `<s> … </s>` of some lengths, each with its label in the next column."""
    generator = torch.Generator().manual_seed(3)
    width = max(lengths) + 1
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    prompt = torch.zeros_like(ids).bool()
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(4, 40, (length,), generator=generator)
        ids[row, 0], ids[row, length - 1], ids[row, length // 2] = 1, 2, 2
        prompt[row, :length] = True
        ids[row, length], labels[row, length] = codes[row], codes[row]
    return Batch(ids, prompt | (labels != -100), prompt, labels)


def attach(backbone: Any, method: str, head: Head = LABELS) -> AdaptedModel:
    torch.manual_seed(1)
    return AdaptedModel(backbone, build_method(method), head)


@every_encoder
def test_the_outputs_are_those_of_transformers(
    load_tiny: Callable[..., Any], name: str, tiny_folders: Any
) -> None:
    """With the head's weights put into Transformers' own classification model of RoBERTa."""
    backbone = load_tiny(name)
    adapted = attach(backbone, "lora").eval()
    batch = make(LABELS, [0, 2, 1], (9, 5, 7))
    if name == "roberta":
        whole = transformers.RobertaForSequenceClassification.from_pretrained(
            tiny_folders[name], num_labels=3
        ).eval()
        whole.classifier.load_state_dict(adapted.adapter.get_submodule("head").state_dict())
        reference = whole
    else:
        bare = transformers.BertModel.from_pretrained(tiny_folders[name]).eval()

        def reference(**given: Any) -> Any:
            hidden = bare(**given).last_hidden_state
            return transformers.utils.ModelOutput(logits=adapted.adapter.head(hidden))

    for row in range(3):
        length = int(batch.prompt_mask_BT[row].sum())
        ids = batch.input_ids_BT[row : row + 1, :length]
        given = {"input_ids": ids}
        if name == "bert":
            given["token_type_ids"] = (torch.arange(length) > length // 2).long()[None]
        with torch.no_grad():
            expected = reference(**given).logits[0]
            found = adapted.outputs(batch)[row]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@every_encoder
@pytest.mark.parametrize("method", [one for one in QUICK if one != "full_ft"])
def test_a_method_on_an_encoder_in_bfloat16(
    load_tiny: Callable[..., Any], name: str, method: str
) -> None:
    """What is trained stays float32, and the outputs are those of a float32 backbone but for rounding."""
    batch = make(LABELS, [0, 2, 1], (9, 5, 7))
    found = []
    for dtype in ("float32", "bfloat16"):
        adapted = attach(load_tiny(name, dtype=dtype), method).eval()
        outputs = adapted.outputs(batch)
        outputs.sum().backward()
        assert {p.grad.dtype for p in adapted.adapter.parameters()} == {torch.float32}
        found.append(outputs.detach())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0.05)


@every_encoder
@pytest.mark.parametrize(
    "method",
    [
        one if one in QUICK else pytest.param(one, marks=pytest.mark.slow)
        for one in sorted({*METHOD_NAMES, *QUICK})
    ],
)
def test_a_method_on_an_encoder(load_tiny: Callable[..., Any], name: str, method: str) -> None:
    """It trains with the head, its neighbours and padding do not matter, and it leaves no trace."""
    backbone = load_tiny(name)
    fingerprint = backbone.fingerprint()
    if method == "infix_tuning":
        with pytest.raises(InjectionError, match="between prompt and answer, got a backbone that"):
            attach(backbone, method)
        return
    adapted = attach(backbone, method)
    count = adapted.method.count(backbone.shape).trainable
    if not adapted.method.counts_last_phase:
        own = sum(p.numel() for p in adapted.adapter.parameters())
        assert own == count + adapted.num_head_parameters
    batch = make(LABELS, [0, 2, 1], (9, 5, 7))
    parameters = [p for group in adapted.parameter_groups().values() for p in group]
    assert {id(p) for p in adapted.adapter.head.parameters()} <= {id(p) for p in parameters}
    optimiser = torch.optim.AdamW(parameters, lr=0.01)
    with torch.no_grad():
        start, number = adapted.eval()(batch)
    assert int(number) == 3
    adapted.train()
    for _ in range(8):
        adapted(batch)[0].backward()
        optimiser.step()
        optimiser.zero_grad()
    adapted.eval()
    with torch.no_grad():
        assert adapted(batch)[0] < start
        together = adapted.outputs(batch)
        alone = adapted.outputs(make(LABELS, [0], (9,)))
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-5)
    adapted.remove()
    assert backbone.fingerprint() == fingerprint


@every_encoder
def test_a_prefix_is_seen_in_both_directions(load_tiny: Callable[..., Any], name: str) -> None:
    """The first token's state depends on the last virtual token and on the last token of the text."""
    backbone = load_tiny(name)
    for method in ("prefix_tuning", "prompt_tuning"):
        adapted = attach(backbone, method).eval()
        batch = make(LABELS, [0, 1], (6, 6))
        with torch.no_grad():
            before = adapted.outputs(batch)
            tokens = dict(adapted.adapter.named_parameters())
            (changed,) = [p for key, p in tokens.items() if key.endswith(("embedding", "tokens"))][
                :1
            ]
            changed[-1] += torch.randn(changed.shape[1])
            assert not torch.allclose(adapted.outputs(batch), before, atol=1e-4)
        adapted.remove()


def test_numbers_are_trained_by_their_squared_error(load_tiny: Callable[..., Any]) -> None:
    adapted = attach(load_tiny("roberta"), "lora", NUMBER).eval()
    codes = [
        NUMBER.code(one) for one in examples(("a",), answer="2.5") + examples(("a",), answer="-1")
    ]
    assert codes == [3_500_000, 0] == [round(3.5 * PARTS_OF_ONE), 0]
    batch = make(NUMBER, codes, (5, 7))
    with torch.no_grad():
        loss, count = adapted(batch)
        found = adapted.outputs(batch)[:, 0]
    expected = (found - torch.tensor([2.5, -1.0])).pow(2).sum()
    torch.testing.assert_close(loss, expected)
    assert int(count) == 2
    assert NUMBER.answer([7.0]) == "5.000000"
    assert NUMBER.answer([0.25]) == "0.250000"


def test_pairs_are_put_together_by_the_tokenizer_and_cut_at_the_longer_one(
    load_tiny: Callable[..., Any],
) -> None:
    tokenizer = load_tiny("bert").tokenizer
    rows = examples(("the cat", "a dog sat on the mat"), ("who is </s> Ana", "no"), ("blue box",))
    found = encode_pairs(tokenizer, rows, LABELS, max_length=8)
    words = [tokenizer.convert_ids_to_tokens(list(one.prompt_ids)) for one in found.encoded]
    assert words[0] == ["<s>", "the", "cat", "</s>", "a", "dog", "sat", "</s>"]
    assert words[1].count("</s>") == 2, "what looks like a control token in the data is text"
    assert words[2] == ["<s>", "blue", "box", "</s>"]
    assert [one.answer_ids for one in found.encoded] == [(0,), (0,), (0,)]
    assert found.truncated == len(found.uncut) == 2 - (len(words[1]) <= 8 and 1 not in found.uncut)


def test_labels_come_back_in_order(load_tiny: Callable[..., Any]) -> None:
    backbone = load_tiny("roberta")
    adapted = attach(backbone, "lora").eval()
    rows = examples(("who is Ana", "yes"), ("a very good film",), ("no",))
    encoded = encode_pairs(backbone.tokenizer, rows, LABELS, max_length=32).encoded
    alone = [label(adapted, [one], batch_size=1)[0] for one in encoded]
    assert label(adapted, encoded, batch_size=2) == alone
    assert set(alone) <= set(LABELS.labels)


def test_what_an_encoder_cannot_do_is_refused(load_tiny: Callable[..., Any]) -> None:
    backbone, decoder = load_tiny("bert"), load_tiny("llama")

    class Open:
        name, head = "squad", None

    with pytest.raises(ConfigError, match="must be classification or regression with the encoder"):
        head_for(backbone, Open())
    assert head_for(decoder, Open()) is None
    adapted = AdaptedModel(backbone, build_method("lora"))
    with pytest.raises(InjectionError, match="must have a head to label texts, got none"):
        adapted.outputs(make(LABELS, [0], (5,)))
    with pytest.raises(BackboneError, match="must be a decoder or an encoder-decoder where text"):
        generate(adapted, [], num_beams=1, max_new_tokens=2, batch_size=1)
    pair = Encoded((1, 5, 2), (6,), 0)
    with pytest.raises(
        BackboneError, match="encoder-decoder where text is scored, got the encoder"
    ):
        loglikelihood(adapted, [pair], batch_size=1)
