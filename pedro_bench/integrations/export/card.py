"""The model card of an export: what a Hub page shows of it, made of the run's records alone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pedro_bench import __version__
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.statistics import CONFIDENCE
from pedro_bench.backbones import folders
from pedro_bench.data.chat import NONE
from pedro_bench.integrations.export.request import Base, Request
from pedro_bench.integrations.export.seeds import scores_of, shown_config
from pedro_bench.reporting.numbers import counted

_LIBRARIES = {
    "peft": "peft",
    "remote_code": "transformers",
    "merged": "transformers",
    "native": "pedro_bench",
}
_HIDDEN = frozenset({"_target_", "name", "label", "lr", "tuned"})
"""Entries of a method that are no settings, or stand elsewhere in the card."""

PLUGIN = "import pedro_bench.integrations.peft"
_NEEDS = "# pip install 'pedro_bench[peft]'"


def card(
    request: Request,
    state: Mapping[str, Any],
    base: Base,
    runs: Sequence[Run],
    *,
    seed: int,
    command: str | None,
    is_own_type: bool,
) -> str:
    """Return the text of an export's README.md.

    Args:
        request: What is exported.
        state: What the saved adapter says of itself: `method` and `config`.
        base: What it stands on.
        runs: All seeds of its key; none where their records are not there.
        seed: The seed that is exported.
        command: What makes the runs anew; None without records.
        is_own_type: Whether peft needs `pedro_bench.integrations.peft` to load it.
    """
    config = shown_config(state["config"])
    method = dict(state["method"])
    task, backbone = dict(config["task"]), dict(config["backbone"])
    names = _Names(
        method=str(method["name"]),
        task=str(task.get("name", runs[0].task if runs else "a task")),
        backbone=str(backbone.get("name", "its backbone")),
    )
    parts = [
        _front_matter(request, base, names, config, runs),
        f"# {names.method} on {names.task}, {names.backbone}",
        f"{_what_it_is(request, names, seed)} Made with pedro_bench {__version__}.",
        f"**Base model:** {_shown_base(base, backbone)}",
        f"**Data:** {_shown_data(config, task)}",
        "**Licence:** the base model's licence and the terms of the data hold for what was made of them"
        + ("." if request.license is None else f"; the adapter itself is under {request.license}."),
        *_warning(config),
        "## How to load it",
        f"```python\n{_loading(request, base, backbone, is_own_type=is_own_type)}\n```",
        *_own_module(request, str(method["_target_"])),
        *_padding(request, method),
        *_prompts(task),
        "## Settings",
        _settings(method, config, runs),
        "## Results",
        _results(names, runs, seed),
        *_anew(command),
    ]
    return "\n\n".join(parts) + "\n"


class _Names(NamedTuple):
    method: str
    task: str
    backbone: str


def _front_matter(
    request: Request, base: Base, names: _Names, config: Mapping[str, Any], runs: Sequence[Run]
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    task = dict(config["task"])
    data_set = task.get("hub_id")
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=str(data_set or names.task),
            dataset_name=names.task,
            dataset_split="test",
            metric_type=metric,
            metric_name=f"{metric}, median of {counted(len(values), 'seed')}",
            metric_value=round(middle, 2),
        )
        for metric, (values, middle, _) in scores_of(runs).items()
    ]
    is_real = (config.get("data") or {}).get("name") != "micro"
    facts = ModelCardData(
        base_model=base.place if base.is_on_hub else None,
        library_name=_LIBRARIES[request.format],
        license=request.license,
        datasets=data_set if is_real else None,
        pipeline_tag="text-generation",
        tags=["pedro_bench", names.method, names.task],
        model_name=f"{names.method} on {names.task}" if results and is_real else None,
        eval_results=(results or None) if is_real else None,
    )
    return f"---\n{facts.to_yaml()}\n---"


def _what_it_is(request: Request, names: _Names, seed: int) -> str:
    kind = {
        "peft": "An adapter in peft's format:",
        "remote_code": "An adapter that Transformers loads with its base model:",
        "merged": "A whole model, with the adapter merged into its weights:",
        "native": "An adapter in pedro_bench's own format:",
    }[request.format]
    return f"{kind} method `{names.method}`, trained on `{names.task}` with seed {seed}."


def _shown_base(base: Base, backbone: Mapping[str, Any]) -> str:
    if base.is_on_hub:
        commit = f" at commit `{base.revision}`" if base.revision else ""
        return f"`{base.place}`{commit}"
    path = str(backbone.get("path") or backbone.get("name"))
    if _is_packaged(backbone):
        return f"`{backbone.get('name')}`, which is part of pedro_bench"
    return f"`{path}`, a local folder"


def _is_packaged(backbone: Mapping[str, Any]) -> bool:
    return str(backbone.get("path")).startswith(folders.PACKAGE_PREFIX)


def _shown_data(config: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    source = (config.get("data") or {}).get("name")
    if source == "micro":
        return f"the micro version of `{task.get('name')}`, which pedro_bench generates"
    shown = f"`{task.get('hub_id') or task.get('name')}`"
    commit = f" at commit `{task['hub_revision']}`" if task.get("hub_revision") else ""
    return f"{shown}{commit}" if source == "hub" else f"the official files of {shown}"


def _warning(config: Mapping[str, Any]) -> list[str]:
    is_micro = "micro" in ((config.get("data") or {}).get("name"), config["backbone"].get("name"))
    text = "> Micro results show that methods differ, not how they rank on real models."
    return [text] if is_micro else []


def _loading(
    request: Request, base: Base, backbone: Mapping[str, Any], *, is_own_type: bool
) -> str:
    place = request.push or "DIR"
    if request.format == "native":
        is_found = base.is_on_hub or _is_packaged(backbone)
        where = "" if is_found else ', backbone="FOLDER OF THE BASE MODEL"'
        fetched = (
            f'from huggingface_hub import snapshot_download\n\nfolder = snapshot_download("{place}")\n'
            if request.push
            else f'folder = "{place}"\n'
        )
        return f'import pedro_bench\n{fetched}run = pedro_bench.load(folder{where})\nrun.generate(["…"])'
    if request.format in ("merged", "remote_code"):
        is_code = request.format == "remote_code"
        first, trusted = (f"{_NEEDS}\n", ", trust_remote_code=True") if is_code else ("", "")
        return (
            f"{first}from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'model = AutoModelForCausalLM.from_pretrained("{place}"{trusted})\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{place}")'
        )
    first = f"{PLUGIN}  {_NEEDS}\n" if is_own_type else ""
    source = (
        f'"{base.place}"' if base.is_on_hub else "model.active_peft_config.base_model_name_or_path"
    )
    return (
        f"{first}from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer\n\n"
        f'model = AutoPeftModelForCausalLM.from_pretrained("{place}")\n'
        f"tokenizer = AutoTokenizer.from_pretrained({source})"
    )


def _own_module(request: Request, target: str) -> list[str]:
    """Say what else must be there for a method that is no part of the package."""
    module = target.partition(".")[0]
    if request.format != "native" or module == "pedro_bench":
        return []
    return [f"The method is a class of the module `{module}`, which must be on `PYTHONPATH`."]


def _padding(request: Request, method: Mapping[str, Any]) -> list[str]:
    """Say what peft does with prompt tuning in a batch: padding between virtual tokens and text counts."""
    if request.format not in ("peft", "remote_code") or method.get("place") != "before_prompt":
        return []
    return [
        "Generate for one prompt at a time, or for prompts of one length: peft puts the padding of a batch "
        "between the virtual tokens and the text, and shorter prompts then get other answers."
    ]


def _prompts(task: Mapping[str, Any]) -> list[str]:
    prompt = task.get("prompt")
    if task.get("chat_template", NONE) != NONE:
        return ["Prompts have the form of a chat template, the one that the run was trained with."]
    if not isinstance(prompt, str):
        return []
    fence = "````" if "```" in prompt else "```"
    told = "Prompts have this form, without a trailing space; the answer follows."
    return [told, f"{fence}text\n{prompt}\n{fence}"]


def _settings(method: Mapping[str, Any], config: Mapping[str, Any], runs: Sequence[Run]) -> str:
    trainer = dict(config.get("trainer") or {})
    rows = {
        name: value for name, value in method.items() if name not in _HIDDEN and value is not None
    }
    if runs:
        rows["learning rate"] = runs[0].known.get("trainer.lr")
        rows["trained parameters"] = f"{runs[0].parameters.get('trainable', 0):,}"
    rows["trainer"] = trainer.get("name")
    rows["longest prompt and answer"] = f"{trainer.get('max_length')} tokens"
    lines = ["| setting | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value is not None]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shown.replace("|", r"\|")


def _results(names: _Names, runs: Sequence[Run], seed: int) -> str:
    scores = scores_of(runs)
    if not scores:
        return "The records of the run were not there when it was exported, so no scores are shown."
    lines = [f"| seed | {' | '.join(scores)} |", f"|---|{'---:|' * len(scores)}"]
    for row, run in enumerate(runs):
        mark = " (this one)" if run.seed == seed else ""
        values = " | ".join(f"{values[row]:.2f}" for values, _, _ in scores.values())
        lines.append(f"| {run.seed}{mark} | {values} |")
    middles = " | ".join(f"**{middle:.2f}**" for _, middle, _ in scores.values())
    lines.append(f"| **median** | {middles} |")
    ends = [interval for _, _, interval in scores.values()]
    if all(end is not None for end in ends):
        shown = " | ".join(f"{end.low:.2f} to {end.high:.2f}" for end in ends if end is not None)
        lines.append(f"| {CONFIDENCE:.0%} interval | {shown} |")
        note = "The interval is of the median, over seeds (exact bootstrap)."
    else:
        note = f"{len(runs)} seed{'s are' if len(runs) > 1 else ' is'} too few for an interval of the median."
    return "\n".join(lines) + f"\n\nTest split of {names.task}. {note}"


def _anew(command: str | None) -> list[str]:
    if command is None:
        return []
    return ["## Make it anew", f"```sh\n{command}\n```"]
