"""BERT and RoBERTa: encoders, which read a whole text in both directions and write none.

Normalisations come after each residual sum; the one outside the layers is that of the embeddings. What
stands on top in a checkpoint (a pooler, heads of pretraining) is not used: a task's own head is trained.
RoBERTa counts positions from the one after its padding token's id.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pedro_bench.backbones.family import SAMPLE, Family, Projection
from pedro_bench.protocols.batch import positions_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pedro_bench.protocols.batch import Batch


class BertFamily(Family):
    """Encoders with BERT's module names."""

    name: ClassVar[str] = "BERT"
    model_types: ClassVar[tuple[str, ...]] = ("bert", "roberta")
    samples: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "BERT": {**SAMPLE, "model_type": "bert", "type_vocab_size": 1},
        "RoBERTa": {**SAMPLE, "model_type": "roberta", "type_vocab_size": 1},
    }
    kind: ClassVar[str] = "encoder"
    embedding: ClassVar[str] = "embeddings.word_embeddings"
    layers: ClassVar[str] = "encoder.layer"
    last_norm: ClassVar[str] = "embeddings.LayerNorm"
    position_module: ClassVar[str] = "embeddings.position_embeddings"
    unused: ClassVar[tuple[str, ...]] = (r"(^|\.)pooler\.", r"^cls\.", r"^lm_head\.")

    def model_class(self) -> tuple[Any, dict[str, Any]]:
        """Return the bare encoder, without a pooler."""
        import transformers

        return transformers.AutoModel, {"add_pooling_layer": False}

    def stack(self, model: Any) -> "nn.Module":
        """Return the model itself."""
        return model  # type: ignore[no-any-return]

    def projections(self, block: Any, config: Any) -> Mapping[str, Projection]:
        """Return the six projections."""
        attention = getattr(block.attention, "self")  # noqa: B009  # a name that reads as a mistake
        return {
            "query": Projection(attention.query),
            "key": Projection(attention.key),
            "value": Projection(attention.value),
            "attn_out": Projection(block.attention.output.dense),
            "ffn_up": Projection(block.intermediate.dense),
            "ffn_down": Projection(block.output.dense),
        }

    def norms(self, block: Any) -> "list[nn.Module]":
        """Return the normalisations after attention and after the feed-forward network."""
        return [block.attention.output.LayerNorm, block.output.LayerNorm]

    def positions(self, config: Any) -> str:
        """Return `learned`."""
        return "learned"

    def max_positions(self, config: Any) -> int | None:
        """Return how many positions are left behind those that no token takes."""
        return int(config.max_position_embeddings) - self._first_position(config)

    def inputs(self, batch: "Batch", config: Any, tokenizer: Any) -> dict[str, Any]:
        """Return ids, mask, positions and, where the model has them, types: 1 from the second text on.

        The label's place in the batch is padding to the model.
        """
        real_BT = batch.prompt_mask_BT
        ids_BT = batch.input_ids_BT.masked_fill(~real_BT, tokenizer.pad_token_id)
        first = self._first_position(config)
        given = {
            "input_ids": ids_BT,
            "attention_mask": real_BT.long(),
            "position_ids": positions_of(real_BT) + first,
        }
        if config.type_vocab_size > 1:
            is_separator_BT = (ids_BT == tokenizer.sep_token_id).long()
            seen_BT = is_separator_BT.cumsum(1) - is_separator_BT
            given["token_type_ids"] = seen_BT.clamp(max=1) * real_BT
        return given

    def placed(self, model: Any, tokens_BPD: "Tensor", positions_BP: "Tensor") -> "Tensor":
        """Return tokens as the first layer gets them: with position and type, and normalised."""
        from torch.nn import functional

        own = model.embeddings
        places_BP = positions_BP + self._first_position(model.config)
        summed = tokens_BPD + functional.embedding(places_BP, own.position_embeddings.weight)
        placed: Tensor = functional.layer_norm(
            summed + own.token_type_embeddings.weight[0],
            own.LayerNorm.normalized_shape,
            own.LayerNorm.weight.to(summed.dtype),  # trained tokens are float32 on every backbone
            own.LayerNorm.bias.to(summed.dtype),
            own.LayerNorm.eps,
        )
        return placed

    def _first_position(self, config: Any) -> int:
        return int(config.pad_token_id) + 1 if config.model_type == "roberta" else 0
