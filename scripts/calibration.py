"""Measure how often tests call methods different that do not differ, at the 5% level.

Methods of equal merit are trained with five seeds each on examples of varied difficulty; a trained model's
skill varies by `noise` (standard deviation, in shares of right answers). A sound test says "different" in
one case of twenty, whatever the seeds' share in the noise: of two methods, and of a whole column of eleven,
in which ten are compared with the one that came out best. There it is the share of columns with a dagger,
with p corrected for the comparisons that are made (ten), and for all pairs (55), as the tables do.

    python scripts/calibration.py --cases 400
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from pedro_bench.analysis.cells import Cell, Column
from pedro_bench.analysis.comparison import ALPHA, compare_examples, holm
from pedro_bench.analysis.judging import judge
from pedro_bench.analysis.statistics import spread

SETTINGS = ((0.0, 50), (0.0, 800), (0.01, 800), (0.03, 800))
"""(noise of seeds, number of examples)."""

DRAWS = 400
COLUMN = 11
"""Methods of a column."""


def scores(
    draw: np.random.Generator, noise: float, examples: int, methods: int = 2
) -> NDArray[np.float64]:
    """Return scores (method, seed, example) in percent of methods that do not differ."""
    skill = draw.normal(0, noise, (methods, 5, 1))
    chance = np.clip(draw.uniform(0.5, 0.95, examples) + skill, 0, 1)
    return np.asarray((draw.random((methods, 5, examples)) < chance) * 100.0)


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


def daggers(column: NDArray[np.float64]) -> tuple[bool, bool]:
    """Return whether a column has a dagger: corrected for the comparisons made, and as the tables do."""
    means = column.mean(axis=2)
    cells = []
    for own, one in zip(means.tolist(), column, strict=True):
        cells.append(
            Cell(Column("", "", None), values=tuple(own), examples=one, spread=spread(own))
        )
    judge(cells)
    tested = [cell.from_best for cell in cells if cell.from_best is not None]
    made = holm([one.comparison.p for one in tested])
    return min(made) < ALPHA, any(one.separates for one in tested)


def of_pairs(cases: int) -> None:
    """Print the shares of pairs of methods that are called different."""
    print("| noise of seeds | examples | sign flips over examples | bootstrap | the test used |")
    print("| --: | --: | --: | --: | --: |")
    for noise, examples in SETTINGS:
        draw = np.random.default_rng([1, examples, round(1000 * noise)])
        found = np.zeros(3)
        for _ in range(cases):
            both = scores(draw, noise, examples)
            p_values = (
                sign_flip(draw, both),
                bootstrap(draw, both),
                compare_examples(both[0], both[1]).p,
            )
            found += np.array(p_values) < ALPHA
        shares = " | ".join(f"{100 * share / cases:.1f}%" for share in found)
        print(f"| {100 * noise:g} points | {examples} | {shares} |", flush=True)


def of_columns(cases: int) -> None:
    """Print the shares of columns with at least one dagger."""
    print("| noise of seeds | examples | Holm over ten comparisons | Holm over all pairs |")
    print("| --: | --: | --: | --: |")
    for noise, examples in SETTINGS:
        draw = np.random.default_rng([2, examples, round(1000 * noise)])
        found = np.zeros(2)
        for _ in range(cases):
            found += np.array(daggers(scores(draw, noise, examples, COLUMN)))
        shares = " | ".join(f"{100 * share / cases:.1f}%" for share in found)
        print(f"| {100 * noise:g} points | {examples} | {shares} |", flush=True)


def main() -> None:
    """Print two Markdown tables of shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=400)
    parser.add_argument("--columns-only", action="store_true", help="leave out the pairs")
    options = parser.parse_args()
    if not options.columns_only:
        of_pairs(options.cases)
        print()
    of_columns(options.cases)


if __name__ == "__main__":
    main()
