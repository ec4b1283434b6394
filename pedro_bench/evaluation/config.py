"""How the test set is answered: what `conf/evaluation/*.yaml` builds; imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from pedro_bench import checks

SEARCH = ("num_beams", "length_penalty", "no_repeat_ngram_size")
"""Settings of an evaluation that decide which answer is generated."""

DECODINGS = ("plain", "static", "compiled")
"""How the steps of a decoding are taken; no setting of an evaluation, as they give the same tokens. `plain`:
Transformers' loop and cache; `static`: static steps (`serving.fast_decoding`), recorded on a GPU; `compiled`:
static steps that are also compiled."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Settings of beam search; everything not named here is Transformers' default.

    Attributes:
        name: The YAML's name.
        num_beams: Beams of each prompt (the paper's protocol: 3); 1 is greedy decoding.
        batch_size: Prompts that are decoded together. Moves results by rounding alone, so no key has it.
        length_penalty: Exponent of the length that a beam's score is divided by; above 0 favours
            long answers over the plain sum (Transformers' default: 1).
        no_repeat_ngram_size: Length of token sequences of which none comes twice in prompt and answer
            together, as in Transformers; 0: any may.
        forgetting: Path of a UTF-8 text on which the rise of the bare language-modelling loss is measured
            (`runs/forgetting.py`), or null for none. Its content enters the key of a run, its path does not.
        test_rows: Most rows of the test split that are answered, the same for every run of a task; null:
            all.
    """

    name: str
    num_beams: int = 3
    batch_size: int = 32
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = checks.later(0, neutral=0)
    forgetting: str | None = None
    test_rows: int | None = checks.later(None, neutral=None)

    version: ClassVar[int] = 1
    """Raised whenever the same settings give other answers; enters the key of a run."""
    ranks: ClassVar[bool] = False
    """Whether the closed set of answers is ranked by log-likelihood."""

    def __post_init__(self) -> None:
        checks.text("evaluation.name", self.name)
        checks.integer("evaluation.num_beams", self.num_beams)
        checks.integer("evaluation.batch_size", self.batch_size)
        checks.number("evaluation.length_penalty", self.length_penalty)
        checks.integer("evaluation.no_repeat_ngram_size", self.no_repeat_ngram_size, least=0)
        checks.text("evaluation.forgetting", self.forgetting, optional=True)
        checks.integer("evaluation.test_rows", self.test_rows, optional=True)


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig:
    """Settings of ranking: the answer is the candidate with the highest log-likelihood.

    Attributes:
        name: The YAML's name.
        batch_size: Pairs of prompt and candidate that are scored together. Moves results by
            rounding alone, so no key has it.
        length_normalised: Whether a log-likelihood is divided by the candidate's tokens, the
            end-of-sequence token included.
        forgetting: As in `EvaluationConfig`.
        test_rows: As in `EvaluationConfig`.
    """

    name: str
    batch_size: int = 64
    length_normalised: bool = False
    forgetting: str | None = None
    test_rows: int | None = checks.later(None, neutral=None)

    version: ClassVar[int] = 1
    """As in `EvaluationConfig`."""
    ranks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.text("evaluation.name", self.name)
        checks.integer("evaluation.batch_size", self.batch_size)
        checks.flag("evaluation.length_normalised", self.length_normalised)
        checks.text("evaluation.forgetting", self.forgetting, optional=True)
        checks.integer("evaluation.test_rows", self.test_rows, optional=True)


@dataclass(frozen=True, kw_only=True)
class BothConfig(EvaluationConfig):
    """Settings of generation and of ranking, side by side; generation gives the main metric.

    Attributes:
        length_normalised: As in `LikelihoodConfig`.
    """

    length_normalised: bool = False

    ranks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag("evaluation.length_normalised", self.length_normalised)


AnyEvaluation = EvaluationConfig | LikelihoodConfig


def search_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in SEARCH of a run's recorded evaluation, the defaults where it has none.

    An evaluation that only ranks has none of them, and older records lack the later ones.
    """
    return {
        one.name: recorded.get(one.name, one.default)
        for one in fields(EvaluationConfig)
        if one.name in SEARCH
    }
