"""Measure the residual stream that PEDRO's generators read, layer by layer, at the last prompt token.

A generator's bottleneck is z = h W_down with h not normalised (PEDRO, eq. 6), and Adam moves every entry of
W_down by about the learning rate, so one step can move every z by up to lr * |h|_1. Where that is beyond the
interval on which the rational activation was fitted, [-4, 4], training is rough. The last column is the
greatest rate at which one step moves z by at most a tenth of 4; compare the rates tried on a new backbone
with it.

    python scripts/residual_norms.py backbone=micro task=rte
"""

import argparse
import statistics
from typing import NamedTuple

import torch

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import load_splits
from pedro_bench.protocols.settings import Settings

FITTED_TO = 4.0
"""The rational activation starts as GELU on [-4, 4]."""


class Layer(NamedTuple):
    """Medians over prompts of one layer's input at the last prompt token."""

    l1: float
    l2: float
    spread: float
    """L2 distance from the mean prompt: what a generator can tell prompts apart by."""

    @property
    def calm_rate(self) -> float:
        """Learning rate at which one step of Adam moves z by at most a tenth of FITTED_TO."""
        return 0.1 * FITTED_TO / self.l1


@torch.no_grad()
def layers_of(settings: Settings, num_prompts: int) -> list[Layer]:
    """Return one Layer for each decoder layer, from the first prompts of the training split."""
    backbone = settings.backbone.load(device="cpu")
    examples = load_splits(settings.task, settings.data).train.examples[:num_prompts]
    encoded = encode(
        backbone.tokenizer,
        examples,
        max_length=settings.trainer.max_length,
        with_answers=False,
        max_new_tokens=settings.task.max_new_tokens,
    ).encoded
    inputs = []
    for prompt in encoded:
        found = backbone.model(
            input_ids=torch.tensor([prompt.prompt_ids]), output_hidden_states=True
        )
        inputs.append(torch.stack([hidden[0, -1].float() for hidden in found.hidden_states[:-1]]))
    hidden_NLD = torch.stack(inputs)
    centred_NLD = hidden_NLD - hidden_NLD.mean(dim=0)
    return [
        Layer(
            l1=statistics.median(hidden_NLD[:, layer].abs().sum(dim=1).tolist()),
            l2=statistics.median(hidden_NLD[:, layer].norm(dim=1).tolist()),
            spread=statistics.median(centred_NLD[:, layer].norm(dim=1).tolist()),
        )
        for layer in range(hidden_NLD.shape[1])
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="as for `python -m pedro_bench`")
    parser.add_argument("--prompts", type=int, default=64)
    arguments = parser.parse_args()
    rows = layers_of(settings_of(["method=pedro", *arguments.overrides]), arguments.prompts)
    print("| layer | L1 norm | L2 norm | spread | calm rate |\n|" + " ---: |" * 5)
    for index, row in enumerate(rows):
        print(f"| {index} | {row.l1:.0f} | {row.l2:.1f} | {row.spread:.1f} | {row.calm_rate:.1e} |")


if __name__ == "__main__":
    main()
