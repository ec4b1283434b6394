"""Turn what Transformers raises into one sentence, and keep its own notes off the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from pedro_bench.errors import BackboneError, ConfigError

REFUSALS = (
    ValueError,
    RuntimeError,
    OSError,
    ImportError,
    LookupError,
    TypeError,
    AttributeError,
    StrictDataclassError,
    SafetensorError,
)
"""What Transformers raises for a folder or a configuration that it cannot use."""

_LACKS = ("can't start new thread", "can't allocate memory", "Cannot allocate memory")
"""What Python, PyTorch and the system say where the machine, not the folder, is at fault."""


def require_device(device: str) -> None:
    """Require that PyTorch finds the GPU on which a backbone is to lie.

    Raises:
        ConfigError: If it finds none, or fewer.
    """
    chosen = torch.device(device)
    count = torch.cuda.device_count() if chosen.type == "cuda" and torch.cuda.is_available() else 0
    if chosen.type == "cuda" and (chosen.index or 0) >= count:
        raise ConfigError(
            f"device must be one of this machine's, got {device!r} where PyTorch finds {count or 'no'} "
            f"{'GPU' if count < 2 else 'GPUs'}: set device=cpu, or look at nvidia-smi."
        )


def unsuitable(source: str, error: Exception) -> BackboneError:
    """Say in one sentence why Transformers refused."""
    if isinstance(error, torch.OutOfMemoryError):
        return BackboneError(
            f"{source} must fit into the device's memory, got none left: set "
            "backbone.dtype=bfloat16 or choose a smaller backbone."
        )
    text = in_one_line(error)
    if any(lack in text for lack in _LACKS):
        return BackboneError(
            f"{source} must fit into this machine's memory and threads, got {text!r}: set "
            "backbone.dtype=bfloat16, choose a smaller backbone or raise the process's limits."
        )
    if any(word in text.lower() for word in ("attn_implementation", "attention implem", "flash")):
        return BackboneError(
            f"backbone.attn_implementation must be one that {source} supports, got a refusal "
            f"({text}): set backbone.attn_implementation=eager."
        )
    return BackboneError(
        f"{source} must describe a causal language model that Transformers knows, got a refusal "
        f"({text})."
    )


def in_one_line(error: Exception) -> str:
    """Return an error's first sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:300].rstrip(".")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Transformers' own bars and notes off the terminal for a while."""
    verbosity = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()
