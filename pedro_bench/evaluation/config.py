"""How answers are generated: what `conf/evaluation/generation.yaml` builds; imports no torch."""

from dataclasses import dataclass

from pedro_bench import checks


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of beam search; everything not named here is Transformers' default.

    Attributes:
        name: The YAML's name.
        num_beams: Beams of each prompt (the paper's protocol: 3); 1 is greedy decoding.
        batch_size: Prompts that are decoded together. Does not change any result.
        length_penalty: Exponent of the length that a beam's score is divided by; above 0 favours
            long answers over the plain sum (Transformers' default: 1).
    """

    name: str
    num_beams: int = 3
    batch_size: int = 32
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        checks.text("evaluation.name", self.name)
        checks.integer("evaluation.num_beams", self.num_beams)
        checks.integer("evaluation.batch_size", self.batch_size)
        checks.number("evaluation.length_penalty", self.length_penalty)
