"""Measure how often tests call two methods different that do not differ, at the 5% level.

Two methods of equal merit are trained with five seeds each on examples of varied difficulty; a trained
model's skill varies by `seed_noise` (standard deviation, in shares of right answers). A sound test says
"different" in one case of twenty, whatever the seeds' share in the noise.

    python scripts/calibration.py --cases 1000
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from pedro_bench.reporting.comparison import compare_examples

SETTINGS = ((0.0, 50), (0.0, 800), (0.01, 800), (0.03, 800))
"""(noise of seeds, number of examples)."""

DRAWS = 400
LEVEL = 0.05


def scores(draw: np.random.Generator, noise: float, examples: int) -> NDArray[np.float64]:
    """Return scores (method, seed, example) in percent of two methods that do not differ."""
    skill = draw.normal(0, noise, (2, 5, 1))
    chance = np.clip(draw.uniform(0.5, 0.95, examples) + skill, 0, 1)
    return np.asarray((draw.random((2, 5, examples)) < chance) * 100.0)


def sign_flip(draw: np.random.Generator, both: NDArray[np.float64]) -> float:
    """Return p of the sign-flip permutation test over examples, seeds averaged."""
    paired = both[0].mean(axis=0) - both[1].mean(axis=0)
    flips = draw.integers(0, 2, (DRAWS, len(paired)), dtype=np.int8) * 2.0 - 1
    reached = np.abs(flips @ paired) >= abs(paired.sum()) - 1e-9
    return float((1 + reached.sum()) / (DRAWS + 1))


def bootstrap(draw: np.random.Generator, both: NDArray[np.float64]) -> float:
    """Return p of the hierarchical bootstrap: seeds of either method and paired examples."""
    examples = both.shape[2]
    picks = draw.integers(0, examples, (DRAWS, examples))
    counts = np.stack([np.bincount(row, minlength=examples) for row in picks]) / examples
    seeds = draw.integers(0, 5, (2, DRAWS, 5))
    means = [
        np.take_along_axis(counts @ one.T, own, axis=1)
        for one, own in zip(both, seeds, strict=True)
    ]
    differences = means[0].mean(axis=1) - means[1].mean(axis=1)
    return float(2 * min((differences <= 0).mean(), (differences >= 0).mean()))


def main() -> None:
    """Print a Markdown table of the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000)
    options = parser.parse_args()
    print("| noise of seeds | examples | sign flips over examples | bootstrap | the test used |")
    print("| --: | --: | --: | --: | --: |")
    for noise, examples in SETTINGS:
        draw = np.random.default_rng([1, examples, round(1000 * noise)])
        found = np.zeros(3)
        for _ in range(options.cases):
            both = scores(draw, noise, examples)
            p_values = (
                sign_flip(draw, both),
                bootstrap(draw, both),
                compare_examples(both[0], both[1]).p,
            )
            found += np.array(p_values) < LEVEL
        shares = " | ".join(f"{100 * share / options.cases:.1f}%" for share in found)
        print(f"| {100 * noise:g} points | {examples} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
