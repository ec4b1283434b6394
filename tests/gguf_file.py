"""A tiny GGUF file in the real format: a Llama with a byte-pair tokenizer, weights in blocks of 8 bits."""

from pathlib import Path
from typing import Any

TOKENS = (
    "<|endoftext|>",
    "<s>",
    "</s>",
    "Ġ",
    "t",
    "h",
    "e",
    "c",
    "a",
    "s",
    "th",
    "the",
    "ca",
    "cat",
    "Ġthe",
)
MERGES = ("t h", "th e", "c a", "ca t", "Ġ the")
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS = 64, 96, 2, 4, 2
VOCABULARY = 32
CONTROL, NORMAL = 3, 1


def save_gguf(file: Path, *, seed: int = 0, architecture: str = "llama") -> Path:
    """Write the file; matrices are Q8_0, vectors float32."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    draw = np.random.default_rng(seed)
    writer = GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    _add_tokenizer(writer)

    def matrix(name: str, outputs: int, inputs: int) -> None:
        values = draw.normal(0.0, 0.2, (outputs, inputs)).astype(np.float32)
        kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    def vector(name: str) -> None:
        writer.add_tensor(name, draw.normal(1.0, 0.1, HIDDEN).astype(np.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    narrow = HIDDEN // HEADS * KV_HEADS
    for layer in range(LAYERS):
        for name, outputs, inputs in (
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", narrow, HIDDEN),
            ("attn_v", narrow, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", FFN, HIDDEN),
            ("ffn_up", FFN, HIDDEN),
            ("ffn_down", HIDDEN, FFN),
        ):
            matrix(f"blk.{layer}.{name}.weight", outputs, inputs)
        vector(f"blk.{layer}.attn_norm.weight")
        vector(f"blk.{layer}.ffn_norm.weight")
    vector("output_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any) -> None:
    tokens = [*TOKENS, *(f"<extra{index}>" for index in range(VOCABULARY - len(TOKENS)))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if token.startswith("<") else NORMAL for token in tokens])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
