"""T5: an encoder reads the prompt, a decoder writes the answer; relative positions; with a gate or without.

Layers are the encoder's, then the decoder's. Roles are those of self-attention and of the feed-forward
network; cross-attention stays as it is. T5 1.1 and Flan-T5 have a gate (`wi_0`), T5 has none. The prompt ends
with the end-of-sequence token, as in pretraining, and the answer begins behind the decoder's start token.

Legend: B examples, T tokens of the batch, P tokens of the prompt with its end, A of the answer, D hidden.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones.family import SAMPLE, Family, Projection
from pedro_bench.protocols.batch import IGNORED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pedro_bench.protocols.batch import Batch

_SAMPLE = {
    "model_type": "t5",
    "vocab_size": SAMPLE["vocab_size"],
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}


class T5Family(Family):
    """T5, T5 1.1 and Flan-T5."""

    name: ClassVar[str] = "T5"
    model_types: ClassVar[tuple[str, ...]] = ("t5",)
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "T5": {**_SAMPLE, "feed_forward_proj": "relu"},
        "T5 1.1": {**_SAMPLE, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    }
    kind: ClassVar[str] = "encoder_decoder"
    layers: ClassVar[str] = "block"
    last_norm: ClassVar[str] = "final_layer_norm"

    def model_class(self) -> tuple[Any, dict[str, Any]]:
        """Return the encoder-decoder with its language-modelling head."""
        import transformers

        return transformers.AutoModelForSeq2SeqLM, {}

    def stacks(self, model: Any) -> "tuple[nn.Module, ...]":
        """Return encoder and decoder."""
        return model.encoder, model.decoder

    def projections(self, block: Any, config: Any) -> Mapping[str, Projection]:
        """Return the projections of self-attention and of the feed-forward network."""
        attention, inner = block.layer[0].SelfAttention, block.layer[-1].DenseReluDense
        gated = {"ffn_gate": inner.wi_0, "ffn_up": inner.wi_1} if hasattr(inner, "wi_0") else {}
        modules = {
            "query": attention.q,
            "key": attention.k,
            "value": attention.v,
            "attn_out": attention.o,
            **(gated or {"ffn_up": inner.wi}),
            "ffn_down": inner.wo,
        }
        return {role: Projection(module) for role, module in modules.items()}

    def norms(self, block: Any) -> "list[nn.Module]":
        """Return the normalisations before self-attention and before the feed-forward network."""
        return [block.layer[0].layer_norm, block.layer[-1].layer_norm]

    def positions(self, config: Any) -> str:
        """Return `bias`."""
        return "bias"

    def max_positions(self, config: Any) -> int | None:
        """Return None: relative positions have no end."""
        return None

    def logits(self, logits_NV: "Tensor", config: Any) -> "Tensor":
        """Scale by d^-1/2 where embedding and head are tied, as T5 does before the product."""
        scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        return logits_NV * scale

    def prompt(
        self, ids_BT: "Tensor", mask_BT: "Tensor", tokenizer: Any
    ) -> "tuple[Tensor, Tensor]":
        """Return prompts (B, P) padded on the right, each with the end-of-sequence token behind it."""
        import torch

        lengths_B1 = mask_BT.sum(1, keepdim=True)
        columns_P = torch.arange(int(lengths_B1.max()) + 1, device=ids_BT.device)
        first_B1 = mask_BT.long().argmax(1, keepdim=True)
        places_BP = (first_B1 + columns_P).clamp(max=ids_BT.shape[1] - 1)
        ids_BP = ids_BT.gather(1, places_BP)
        ids_BP = ids_BP.where(columns_P < lengths_B1, tokenizer.pad_token_id)
        ids_BP = ids_BP.where(columns_P != lengths_B1, tokenizer.eos_token_id)
        return ids_BP, columns_P <= lengths_B1

    def states(self, model: Any, batch: "Batch", tokenizer: Any) -> "Tensor":
        """Return the decoder's last hidden states at the positions before those of the answer."""
        ids_BP, mask_BP = self.prompt(batch.input_ids_BT, batch.prompt_mask_BT, tokenizer)
        encoded_BPD = model.encoder(input_ids=ids_BP, attention_mask=mask_BP.long())[0]
        is_answer_BT = batch.labels_BT != IGNORED
        lengths_B = is_answer_BT.sum(1)
        is_real_BA = (lengths_B[:, None] > _columns(lengths_B)).bool()
        answers_BA = ids_BP.new_full(is_real_BA.shape, tokenizer.pad_token_id)
        answers_BA[is_real_BA] = batch.labels_BT[is_answer_BT]
        start_B1 = ids_BP.new_full((len(ids_BP), 1), model.config.decoder_start_token_id)
        inputs_BA = _shifted(start_B1, answers_BA)
        states_BAD = model.decoder(
            input_ids=inputs_BA,
            encoder_hidden_states=encoded_BPD,
            encoder_attention_mask=mask_BP.long(),
            use_cache=False,
        )[0]
        batch_size, width = batch.labels_BT.shape
        hidden_BTD: Tensor = states_BAD.new_zeros(batch_size, width, states_BAD.shape[2])
        hidden_BTD[:, :-1][is_answer_BT[:, 1:]] = states_BAD[is_real_BA]
        return hidden_BTD


def _columns(lengths_B: "Tensor") -> "Tensor":
    import torch

    return torch.arange(int(lengths_B.max()), device=lengths_B.device)


def _shifted(start_B1: "Tensor", answers_BA: "Tensor") -> "Tensor":
    import torch

    return torch.cat([start_B1, answers_BA[:, :-1]], dim=1)
