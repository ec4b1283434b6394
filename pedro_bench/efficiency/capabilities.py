"""What each method can do on each family, found by doing it on tiny models with random weights.

    train      a loss and its gradients (of an encoder, with a head)
    answer     text by greedy decoding; an encoder labels
    beams      text by beam search
    tenants    adapters of two tenants in one batch (`serving`)
    merge      the adapter added to the backbone's weights
    quantised  `train` and `answer` on the same model with nf4 weights (extra `quantization`)

A capability is there if it runs; where it is refused, the refusal is the reason. Anything else that goes
wrong is a fault and is raised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig

from pedro_bench.backbones.family import families
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.backbones.quantising import NF4
from pedro_bench.efficiency.request import MERGEABLE
from pedro_bench.efficiency.systems import after_search, bank, merged
from pedro_bench.errors import InjectionError, PedroBenchError
from pedro_bench.evaluation.batches import padded
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.labelling import label
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import IGNORED, Batch, Encoded
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Method
from pedro_bench.seeding import seed_torch
from pedro_bench.serving import AdapterBank, TenantAdapter

LETTERS = {
    "train": "t",
    "answer": "a",
    "beams": "b",
    "tenants": "m",
    "merge": "w",
    "quantised": "q",
}
"""Capability -> its letter in a cell."""

_INTRO = """# What each method can do on each family

Made by `python -m pedro_bench.cli.params matrix=true output=md`, which tries everything on tiny models with
random weights. **t** trains; **a** gives answers, by greedy decoding (an encoder labels with its trained
head); **b** beam search; **m** mixed batches of many tenants; **w** is measured merged into the weights
(`cli.efficiency merged=true`; [`cli.export format=merged`](integrations.md) merges more methods);
**q** trains and answers on quantised weights (nf4). Where a letter is missing, the refusal stands below.
What a method means on a family: [fidelity.md](fidelity.md#families).
"""

NAME = "sample"
"""Name of every tiny backbone, so that refusals read alike."""

_HEAD = Head(labels=("yes", "no"))
_PROMPTS = ((1, 9, 12, 7, 30), (1, 8))


def samples() -> Iterator[tuple[str, LoadedBackbone, LoadedBackbone]]:
    """Yield name and a tiny model of every layout of every family, as it is and quantised, on the CPU.

    Raises:
        BackboneError: If the extra `quantization` is not installed.
    """
    for family in families().values():
        for name, architecture in family.samples.items():
            settings = Pretrained(
                name=NAME, label=name, random_weights=True, architecture=dict(architecture)
            )
            quantised = replace(settings, quantization=NF4)
            yield name, settings.load(device="cpu"), quantised.load(device="cpu")


def probe(backbone: LoadedBackbone, quantised: LoadedBackbone, method: Method) -> dict[str, str]:
    """Try everything with a method on a tiny backbone.

    Args:
        backbone: One of `samples`; it is left as it was.
        quantised: The same with quantised weights; likewise.
        method: The method, with any settings.

    Returns:
        Capability -> the reason why it is not there, empty where it is.
    """
    probes: Mapping[str, Callable[[LoadedBackbone, Method], Any]] = {
        "train": _train,
        "answer": _answer,
        "beams": partial(_answer, num_beams=2),
        "tenants": _tenants,
        "merge": _merge,
    }
    found = {name: _refusal(one, backbone, method) for name, one in probes.items()}
    reasons = (_refusal(one, quantised, method) for one in (_train, _answer))
    return {**found, "quantised": next(filter(None, reasons), "")}


def _refusal(
    run: Callable[[LoadedBackbone, Method], Any], backbone: LoadedBackbone, method: Method
) -> str:
    try:
        run(backbone, method)
    except PedroBenchError as error:
        return " ".join(str(error).split())
    return ""


def _attached(backbone: LoadedBackbone, method: Method) -> AdaptedModel:
    seed_torch(0, "init")
    return AdaptedModel(backbone, method, _HEAD if backbone.kind == "encoder" else None)


def _train(backbone: LoadedBackbone, method: Method) -> None:
    adapted = _attached(backbone, method)
    try:
        adapted(_batch(is_labelled=backbone.kind == "encoder"))[0].backward()
        if not any(p.grad is not None for p in adapted.adapter.parameters()):
            raise InjectionError("a method must get gradients to be trained, got none.")
    finally:
        adapted.remove()


def _answer(backbone: LoadedBackbone, method: Method, *, num_beams: int = 1) -> None:
    adapted = _attached(backbone, method)
    rows = [Encoded(prompt, (), row) for row, prompt in enumerate(_PROMPTS)]
    try:
        if backbone.kind == "encoder" and num_beams == 1:
            label(adapted, rows, batch_size=2)
        else:
            generate(adapted, rows, num_beams=num_beams, max_new_tokens=2, batch_size=2)
    finally:
        adapted.remove()


def _tenants(backbone: LoadedBackbone, method: Method) -> None:
    if backbone.kind == "encoder":
        _labelling_tenants(backbone, after_search(backbone, method))
        return
    ids_BT, mask_BT = padded(_PROMPTS, 0, left=True, device=backbone.device)
    settings = GenerationConfig(num_beams=1, max_new_tokens=2, do_sample=False, pad_token_id=0)
    with torch.no_grad(), bank(backbone, method, 2, 0) as generate_mixed:
        generate_mixed(mask_BT, input_ids=ids_BT, generation_config=settings)


def _labelling_tenants(backbone: LoadedBackbone, method: Method) -> None:
    trained = _attached(backbone, method)
    adapter = TenantAdapter.of(trained)
    trained.remove()
    held = AdapterBank(backbone, method)
    try:
        held.add("a", adapter)
        held.add("b", adapter)
        rows = [Encoded(prompt, (), row) for row, prompt in enumerate(_PROMPTS)]
        held.label_encoded(["a", "b"], rows, batch_size=2)
    finally:
        held.close()


def _merge(backbone: LoadedBackbone, method: Method) -> None:
    if not isinstance(method, MERGEABLE):
        raise InjectionError(
            "a method must do no more than add to the weights of projections to be merged, as "
            f"{' and '.join(one.__name__ for one in MERGEABLE)} do, got method {method.name!r}."
        )
    with merged(backbone, method, 0):
        pass


def _batch(*, is_labelled: bool) -> Batch:
    """Return two prompts, each with an answer of one token, or with a label."""
    width = max(map(len, _PROMPTS)) + 1
    ids_BT = torch.zeros(len(_PROMPTS), width, dtype=torch.long)
    prompt_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    labels_BT = torch.full_like(ids_BT, IGNORED)
    for row, prompt in enumerate(_PROMPTS):
        ids_BT[row, : len(prompt)] = torch.tensor(prompt)
        prompt_BT[row, : len(prompt)] = True
        ids_BT[row, len(prompt)] = labels_BT[row, len(prompt)] = row if is_labelled else 11 + row
    return Batch(ids_BT, prompt_BT | (labels_BT != IGNORED), prompt_BT, labels_BT)


def as_markdown(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return a table, methods by families, and the refusals with the cells that they stand for.

    Args:
        cells: `method`, `family`, `capability` and `refusal` (None where there is none), method by method.
    """
    methods = list(dict.fromkeys(one["method"] for one in cells))
    layouts = list(dict.fromkeys(one["family"] for one in cells))
    there = {
        (one["method"], one["family"], one["capability"]) for one in cells if one["refusal"] is None
    }
    lines = [_INTRO, f"| method | {' | '.join(layouts)} |", "|---" * (len(layouts) + 1) + "|"]
    for method in methods:
        marks = [
            "".join(mark for name, mark in LETTERS.items() if (method, family, name) in there)
            for family in layouts
        ]
        lines.append(f"| {method} | {' | '.join(mark or '--' for mark in marks)} |")
    return "\n".join([*lines, "", "## Refusals", "", *_refusals(cells, len(layouts))])


def _refusals(cells: Sequence[Mapping[str, Any]], num_families: int) -> list[str]:
    """Return one line for each kind of refusal: what is refused where, and an example of the sentence."""
    grouped: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in cells:
        if one["refusal"] is None:
            continue
        name = one["method"]
        kind = (
            one["refusal"].replace(f"method {name!r}", "the method"),
            LETTERS[one["capability"]],
        )
        grouped.setdefault(kind, {}).setdefault(one["family"], []).append(name)
    lines: dict[tuple[str, str], list[str]] = {}
    for (text, letter), by_family in grouped.items():
        by_methods: dict[tuple[str, ...], list[str]] = {}
        for family, names in by_family.items():
            by_methods.setdefault(tuple(names), []).append(family)
        for chosen, places in by_methods.items():
            where = "everywhere" if len(places) == num_families else ", ".join(places)
            lines.setdefault((text, f"{', '.join(chosen)} on {where}"), []).append(letter)
    return [
        f"- **{''.join(letters)}** {place}: {_cut(text)}"
        for (text, place), letters in lines.items()
    ]


def _cut(text: str) -> str:
    """Return a refusal without the sample's name, which nobody knows."""
    return text.replace("backbone 'sample'", "the backbone").replace(" 'sample'", "")
