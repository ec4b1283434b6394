"""Adapters that Transformers loads itself, in programs that import nothing of this package.

    DIR/config.json                  the base model's, with the name of the class below in `auto_map`
    DIR/modeling_pedro_bench.py      the line that imports it
    DIR/adapter/                     the adapter in peft's format
    DIR/tokenizer.json …             the base model's tokenizer

    AutoModelForCausalLM.from_pretrained("DIR", trust_remote_code=True)
    lm_eval --model hf --model_args pretrained=DIR,trust_remote_code=True --tasks boolq

give the base model with the adapter as peft wraps it. This package must be installed, which Transformers
checks. The adapter lies in a folder of its own since Transformers takes a folder with an
`adapter_config.json` for one of peft's own types.
"""

import copy
import sys
from pathlib import Path
from typing import Any

import peft
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

ADAPTER = "adapter"
_FILE = "modeling_pedro_bench"
_NOT_THE_BASES = (
    "adapter_kwargs", "code_revision", "config", "gguf_file", "revision", "subfolder", "trust_remote_code",
)  # fmt: skip
"""Arguments that speak of the folder with the adapter, not of the base model."""


class AdaptedForCausalLM:
    """What `auto_map` names: makes peft's model of the base model and the adapter."""

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """Do nothing: Transformers would copy this code into what is saved later, which peft saves."""

    @classmethod
    def from_pretrained(cls, folder: str, *_: Any, **given: Any) -> peft.PeftModel:
        """Load the base model and the adapter.

        Args:
            folder: Folder or repository of the Hub that `save` has written.
            given: `AutoModelForCausalLM.from_pretrained`'s arguments (dtype, device_map, token and so on).

        Returns:
            The model as peft wraps it, in evaluation mode.
        """
        if "lm_eval" in sys.modules:  # the harness must say where a context ends
            import pedro_bench.integrations.lm_eval  # noqa: F401
        hub = {name: given[name] for name in ("token", "cache_dir") if given.get(name)}
        if Path(folder).is_dir():
            place, subfolder = str(Path(folder) / ADAPTER), {}
        else:
            place, subfolder = folder, {"subfolder": ADAPTER, "revision": given.get("revision")}
        config = peft.PeftConfig.from_pretrained(place, **subfolder, **hub)
        base = AutoModelForCausalLM.from_pretrained(
            config.base_model_name_or_path,
            revision=config.revision or "main",
            **{name: value for name, value in given.items() if name not in _NOT_THE_BASES},
        )
        return peft.PeftModel.from_pretrained(base, place, **subfolder, **hub).eval()


def save(model: peft.PeftModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write an adapted model as the folder of the module's docstring."""
    model.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
    (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # peft's empty card
    config = copy.deepcopy(model.get_base_model().config)
    config.auto_map = {"AutoModelForCausalLM": f"{_FILE}.{AdaptedForCausalLM.__name__}"}
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / f"{_FILE}.py").write_text(
        f"from {__name__} import {AdaptedForCausalLM.__name__}  # pip install 'pedro_bench[peft]'\n",
        encoding="utf-8",
    )
