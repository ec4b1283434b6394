"""Tiny real models in the real file format, and methods built from their YAMLs.

With PEDRO_BENCH_CONFIG_DIR=DIR the contract tests run over the methods of DIR/method, a folder such as
`--config-dir` takes, instead of those of conf/method.
"""

import os
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
CONF = REPOSITORY / "conf"
OUTSIDE = os.environ.get("PEDRO_BENCH_CONFIG_DIR")
METHODS = (Path(OUTSIDE).resolve() if OUTSIDE else CONF) / "method"
REAL_DATA = REPOSITORY.parent / "shared" / "data"

WORDS = (
    "yes no positive negative the a cat dog sat on mat where is who what lives in Oslo Rome Ana Ben "
    "likes red blue box why because it was and not very good bad film passage question answer"
).split()


def make_tokenizer(*, pairs: bool = False) -> Any:
    """Make a whole-word tokenizer with `<s> </s> <pad>`, in the real file format.

    With `pairs` it puts `</s>` behind each text, as encoders' tokenizers do.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {
        word: index for index, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if pairs else "<s> $A",
        pair="<s> $A </s> $B </s>" if pairs else None,
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    encoder = {"cls_token": "<s>", "sep_token": "</s>"} if pairs else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        **encoder,
    )


SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
"""A model with grouped-query attention, in the words of its `config.json`."""


def _decoder(**changes: Any) -> dict[str, Any]:
    return {**SIZES, "max_position_embeddings": 256, "initializer_range": 0.2, **changes}


def _falcon(**changes: Any) -> dict[str, Any]:
    own = {k: v for k, v in _decoder().items() if k not in ("head_dim", "num_key_value_heads")}
    return {**own, "model_type": "falcon", "ffn_hidden_size": 48, **changes}


def _encoder(**changes: Any) -> dict[str, Any]:
    own = {k: v for k, v in _decoder().items() if k not in ("head_dim", "num_key_value_heads")}
    return {**own, **changes}


def _t5(**changes: Any) -> dict[str, Any]:
    sizes = {
        "vocab_size": 64,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
    }
    tokens = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    return {"model_type": "t5", **sizes, **tokens, **changes}


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _decoder(model_type="llama"),
    "gemma": _decoder(model_type="gemma", head_dim=16, num_key_value_heads=1),
    "phi3": _decoder(model_type="phi3", sliding_window=None),
    "gpt2": {
        **{name: SIZES[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")},
        "model_type": "gpt2",
        "n_embd": 32,
        "n_inner": 48,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 256,
        "initializer_range": 0.2,
    },
    "gpt_neox": _decoder(model_type="gpt_neox", use_parallel_residual=True),
    "bert": _encoder(model_type="bert", max_position_embeddings=256),
    "roberta": _encoder(model_type="roberta", max_position_embeddings=257, type_vocab_size=1),
    "t5": _t5(feed_forward_proj="relu", tie_word_embeddings=True),
    "t5_gated": _t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "falcon": _falcon(multi_query=True, parallel_attn=True, bias=False),
    "falcon_grouped": _falcon(new_decoder_architecture=True, num_kv_heads=2),
    "falcon_alibi": _falcon(multi_query=False, parallel_attn=False, alibi=True, bias=True),
}
"""Tiny models: one of every layout of the families, in the words of its `config.json`."""


ENCODERS = {"bert": "AutoModelForPreTraining", "roberta": "AutoModelForMaskedLM"}
"""Tiny encoders, and Transformers' class that saves them with the heads they were pretrained with."""


SEQ2SEQ = ("t5", "t5_gated")
"""Tiny encoder-decoders."""


def save_tiny(folder: Path, name: str = "llama", **changes: Any) -> Path:
    """Save a tiny random model and its tokenizer in the real format; return the folder.

    The global random stream is as before: fixtures save a model when a test first asks for it.
    """
    import torch
    import transformers
    from transformers import AutoConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seq2seq = dict.fromkeys(SEQ2SEQ, "AutoModelForSeq2SeqLM")
        model_class = getattr(transformers, (ENCODERS | seq2seq).get(name, "AutoModelForCausalLM"))
        model = model_class.from_config(AutoConfig.for_model(**{**CONFIGS[name], **changes}))
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if path.endswith(
                    "bias"
                ):  # Transformers starts them at zero, where no one sees a mistake
                    parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    make_tokenizer(pairs=name in ENCODERS).save_pretrained(folder)
    return folder


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
    )


def rows_of(batch: Any) -> list[tuple[list[int], int]]:
    """Return each example's ids without padding, and how many of them are the prompt's."""
    return [
        (ids[real].tolist(), int(prompt.sum()))
        for ids, real, prompt in zip(
            batch.input_ids_BT, batch.attention_mask_BT, batch.prompt_mask_BT, strict=True
        )
    ]


def build_method(name: str, **changes: Any) -> Any:
    """Build a method from its YAML, with small sizes unless told otherwise."""
    folder = METHODS if name in METHOD_NAMES else CONF / "method"
    return _built("method", folder / f"{name}.yaml", **changes)


def build_backbone(name: str) -> Any:
    """Build a backbone's configuration from its YAML."""
    return _built("backbone", CONF / "backbone" / f"{name}.yaml")


def _built(group: str, file: Path, **changes: Any) -> Any:
    """Build a group from a YAML; an error names the file."""
    from pedro_bench.errors import ConfigError
    from pedro_bench.protocols.settings import build_group

    try:
        return build_group(group, {**read_yaml(file), **changes})
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML as the commands do: `1e-2` is a number, which plain YAML reads as text."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.to_container(OmegaConf.load(file))
    return dict(found)


METHOD_NAMES = sorted(path.stem for path in METHODS.glob("*.yaml"))

if OUTSIDE and str(METHODS.parent) not in sys.path:
    sys.path.append(str(METHODS.parent))
