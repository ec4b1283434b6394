"""Tiny real backbones in the real file format, and the lists of YAMLs that the contracts run over."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

REPOSITORY = Path(__file__).parent.parent
CONF = REPOSITORY / "conf"
REAL_DATA = REPOSITORY.parent / "shared" / "data"

WORDS = (
    "yes no positive negative the a cat dog sat on mat where is who what lives in Oslo Rome Ana Ben "
    "likes red blue box why because it was and not very good bad film passage question answer"
).split()


def make_tokenizer() -> Any:
    """Make a whole-word tokenizer with `<s> </s> <pad>`, in the real file format."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        word: index for index, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


def save_tiny(folder: Path, family: str = "llama", **sizes: Any) -> Path:
    """Save a tiny random model with grouped-query attention and its tokenizer; return the folder."""
    import torch
    from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.2,
    }
    options.update(sizes)
    make = {"llama": LlamaConfig, "gemma": GemmaConfig}[family]
    model = AutoModelForCausalLM.from_config(make(**options))
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny checkpoints: `llama` (grouped-query attention) and `gemma` (wide heads)."""
    root = tmp_path_factory.mktemp("backbones")
    return {
        "llama": save_tiny(root / "llama"),
        "gemma": save_tiny(root / "gemma", "gemma", head_dim=16, num_key_value_heads=1),
    }


@pytest.fixture
def load_tiny(tiny_folders: dict[str, Path]) -> Callable[..., Any]:
    """A function that loads a tiny backbone: `load_tiny("gemma", dtype="bfloat16")`."""
    from pedro_bench.backbones.llama import Llama

    def load(family: str = "llama", **options: Any) -> Any:
        config = Llama(
            name=f"tiny_{family}", label="tiny", path=str(tiny_folders[family]), **options
        )
        return config.load(device="cpu")

    return load


@pytest.fixture
def tiny_backbone(load_tiny: Callable[..., Any]) -> Any:
    """A tiny Llama with grouped-query attention, freshly loaded."""
    return load_tiny()


@pytest.fixture
def make_batch() -> Callable[..., Any]:
    """A function that makes a batch of random tokens: `make_batch(((5, 2), (3, 1)), side="left")`."""
    import torch

    from pedro_bench.protocols.batch import Batch

    def make(
        lengths: tuple[tuple[int, int], ...] = ((6, 2), (3, 3), (4, 1)),
        *,
        side: str = "right",
        seed: int = 0,
    ) -> Any:
        generator = torch.Generator().manual_seed(seed)
        width = max(prompt + answer for prompt, answer in lengths)
        ids = torch.zeros(len(lengths), width, dtype=torch.long)
        prompts, answers = torch.zeros_like(ids).bool(), torch.zeros_like(ids).bool()
        for row, (prompt, answer) in enumerate(lengths):
            end = prompt + answer
            ids[row, :end] = torch.randint(4, 40, (end,), generator=generator)
            ids[row, 0], ids[row, end - 1] = 1, 2
            prompts[row, :prompt], answers[row, prompt:end] = True, True
        batch = Batch(
            ids, prompts | answers, prompts, ids.masked_fill(~answers, -100), tuple(range(len(lengths)))
        )
        return batch if side == "right" else pad_left(batch)

    return make


def pad_left(batch: Any) -> Any:
    """Move a right-padded batch's padding to the left."""
    import torch

    from pedro_bench.protocols.batch import Batch

    shifts = (~batch.attention_mask_BT.bool()).sum(1).tolist()

    def roll(matrix: Any) -> Any:
        return torch.stack([row.roll(shift) for row, shift in zip(matrix, shifts, strict=True)])

    return Batch(
        roll(batch.input_ids_BT),
        roll(batch.attention_mask_BT),
        roll(batch.prompt_mask_BT),
        roll(batch.labels_BT),
        batch.indices,
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread, so that tests in parallel do not fight over two cores."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return


def build_method(name: str, **changes: Any) -> Any:
    """Build a method from its YAML, with small sizes unless told otherwise."""
    import yaml

    from pedro_bench.protocols.settings import build_group

    config = yaml.safe_load((CONF / "method" / f"{name}.yaml").read_text())
    return build_group("method", {**config, **changes})


METHOD_NAMES = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
