"""The Open LLM Leaderboard's benchmarks (its first version) as the RED paper's Table 18 has them.

Few-shot examples and metrics are those of RED's Table 17, the same as the leaderboard's
(https://huggingface.co/docs/leaderboards/en/open_llm_leaderboard/archive). Examples come from the train
split, as in the harness's group `openllm`. GSM8K's `acc` is the share of answers whose number after `####`
is the right one, which the harness calls the exact match under its filter `strict-match`; TruthfulQA's `mc2`
is the metric `acc` of its task `truthfulqa_mc2`. MMLU, the sixth benchmark, is the suite `mmlu`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FEWSHOT_SEED = 1234
"""Seed that the harness's own command draws the examples with."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark: where the harness and the Hub have it, and how it is measured.

    Attributes:
        folder: Folder of the harness's task file; `task` is the task's name.
        shots: Examples in front of each question, drawn anew for each from the train split.
        metric: The metric, as the paper names it; `harness_metric` is its name in the harness.
        filter: The harness's filter of answers that it is taken under.
        split: The split that is measured, which has the right answers.
        hub_id: Data set on the Hub; `hub_config` is its configuration, `revision` the pinned commit.
    """

    folder: str
    task: str
    shots: int
    metric: str
    harness_metric: str
    split: str
    hub_id: str
    hub_config: str | None
    revision: str
    filter: str = "none"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are read: that of the examples, if there are any, and the measured one."""
        return ("train", self.split) if self.shots else (self.split,)

    @property
    def is_generated(self) -> bool:
        """Whether an answer is generated; else the likeliest of the given ones is taken."""
        return self.harness_metric == "exact_match"


LEADERBOARD: Mapping[str, Benchmark] = {
    "arc": Benchmark(
        folder="arc",
        task="arc_challenge",
        shots=25,
        metric="acc_norm",
        harness_metric="acc_norm",
        split="test",
        hub_id="allenai/ai2_arc",
        hub_config="ARC-Challenge",
        revision="210d026faf9955653af8916fad021475a3f00453",
    ),
    "truthfulqa": Benchmark(
        folder="truthfulqa",
        task="truthfulqa_mc2",
        shots=0,
        metric="mc2",
        harness_metric="acc",
        split="validation",
        hub_id="truthfulqa/truthful_qa",
        hub_config="multiple_choice",
        revision="741b8276f2d1982aa3d5b832d3ee81ed3b896490",
    ),
    "winogrande": Benchmark(
        folder="winogrande",
        task="winogrande",
        shots=5,
        metric="acc",
        harness_metric="acc",
        split="validation",
        hub_id="allenai/winogrande",
        hub_config="winogrande_xl",
        revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    ),
    "gsm8k": Benchmark(
        folder="gsm8k",
        task="gsm8k",
        shots=5,
        metric="acc",
        harness_metric="exact_match",
        filter="strict-match",
        split="test",
        hub_id="openai/gsm8k",
        hub_config="main",
        revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    ),
    "hellaswag": Benchmark(
        folder="hellaswag",
        task="hellaswag",
        shots=10,
        metric="acc_norm",
        harness_metric="acc_norm",
        split="validation",
        hub_id="Rowan/hellaswag",
        hub_config=None,
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
    ),
}
"""Suite -> its benchmark."""
