"""Tuning: the same trials for every method, halved seed by seed on dev losses; the median over seeds chooses.

A trial is one choice of settings (`method.lr`, and one more where a method names it). Every method has the
same number of trials over the same range of rates, at the same points. In the first rung each trial runs with
the first seed; the better half runs with the next one, and so on, down to two, or until one seed is left; the
best two run with every seed. The one with the lower merit is chosen: the geometric mean over tasks of the
median best dev loss over seeds (medians, because at rates near too high a seed may fall to chance; a
geometric mean, because tasks have dev losses of different sizes). No test row is read.
"""

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pedro_bench.errors import ConfigError

RATE = "method.lr"
TRIALS = "tune_"
"""What the suites of trials begin with; tables and figures have them only where they are asked for."""
NUM_FINALISTS = 2
RATES_OF_A_RANGE = 7
"""How many rates of a range are tried where no number of trials is given."""

Losses = Mapping[tuple[str, int], float]
"""(task, seed) -> best dev loss in nats per answer token; infinite where the run failed."""


@dataclass
class Trial:
    """One choice of settings for a method.

    Attributes:
        values: Setting -> value, such as `method.lr` -> 0.003.
        losses: What its runs gave so far.
    """

    values: Mapping[str, Any]
    losses: dict[tuple[str, int], float] = field(default_factory=dict)

    def merit(self, tasks: Sequence[str]) -> float:
        """Return the geometric mean over tasks of the median over seeds; infinite where a median is."""
        medians = []
        for task in tasks:
            own = [loss for (name, _), loss in self.losses.items() if name == task]
            medians.append(statistics.median(own) if own else math.inf)
        if any(math.isinf(one) for one in medians):
            return math.inf
        return statistics.geometric_mean([max(one, 1e-12) for one in medians])


def rates_of(lr: Sequence[float], number: int | None) -> list[float]:
    """Return the rates that every method tries.

    Args:
        lr: The lowest and the highest rate of a range; three or more are the rates themselves.
        number: Trials of a range, or None for RATES_OF_A_RANGE.

    Raises:
        ConfigError: As `rates_between`; or if rates themselves do not rise, or their number is given too.
    """
    rates = [float(one) for one in lr]
    if len(rates) == 2:
        return rates_between(RATES_OF_A_RANGE if number is None else number, rates[0], rates[1])
    if number is not None:
        raise ConfigError(
            f"trials must be left out where lr gives more rates than two, got trials={number} and "
            f"{len(rates)} rates."
        )
    if any(low >= high for low, high in pairwise(rates)):
        raise ConfigError(
            f"lr must be rates that rise, got {', '.join(f'{one:g}' for one in rates)}."
        )
    return rates


def rates_between(number: int, lowest: float, highest: float) -> list[float]:
    """Return rates at even distances in their logarithm, with two significant digits.

    Args:
        number: Rates, at least `NUM_FINALISTS`.
        lowest: Lowest rate, above 0.
        highest: Highest rate, above the lowest.

    Raises:
        ConfigError: If they are so many that two rates are one, or the bounds are none.
    """
    if number < NUM_FINALISTS:
        raise ConfigError(f"trials must be at least {NUM_FINALISTS}, got {number}.")
    if not 0 < lowest < highest:
        raise ConfigError(
            f"lr must be two rates above 0, the lower one first, got {lowest:g} and {highest:g}."
        )
    step = (highest / lowest) ** (1 / (number - 1))
    rates = [float(f"{lowest * step**place:.1e}") for place in range(number)]
    if len(set(rates)) < number:
        raise ConfigError(
            f"trials must have rates that differ in two digits, got {number} between {lowest:g} and "
            f"{highest:g}: widen lr or set fewer trials."
        )
    return rates


def points(
    rates: Sequence[float], knob: tuple[str, Sequence[Any]] | None = None
) -> list[dict[str, Any]]:
    """Return the settings of every trial (setting -> value), one for each rate.

    Args:
        rates: Learning rates.
        knob: Another setting and the values to try; trials take them in turn.

    Raises:
        ConfigError: If the trials are too few to try every value.
    """
    if knob is None:
        return [{RATE: rate} for rate in rates]
    name, values = knob
    if len(rates) < len(values):
        raise ConfigError(
            f"trials must be at least the {len(values)} values of {name}, so that each is tried, got "
            f"{len(rates)}."
        )
    return [{RATE: rate, name: values[place % len(values)]} for place, rate in enumerate(rates)]


def rungs(number: int, seeds: Sequence[int], *, is_halved: bool) -> Iterator[tuple[int, list[int]]]:
    """Yield (trials that go on, the seeds they run with next) for each rung.

    Args:
        number: Trials of the first rung.
        seeds: All seeds, in order.
        is_halved: Whether trials are left out between rungs; else all run with every seed at once.
    """
    if not is_halved or number <= NUM_FINALISTS or len(seeds) == 1:
        yield number, list(seeds)
        return
    left = number
    for place, seed in enumerate(seeds[:-1]):
        yield left, [seed]
        left = max(NUM_FINALISTS, math.ceil(left / 2))
        if left == NUM_FINALISTS:
            yield left, list(seeds[place + 1 :])
            return
    yield NUM_FINALISTS, [seeds[-1]]


def search(
    trials: Mapping[str, Sequence[Trial]],
    tasks: Sequence[str],
    seeds: Sequence[int],
    run: Callable[[Sequence[tuple[str, Trial]], Sequence[int]], Sequence[Losses]],
    *,
    is_halved: bool = True,
) -> dict[str, Trial | None]:
    """Run the rungs of all methods side by side and choose one trial for each.

    Args:
        trials: Method -> its trials, as many for each; their losses are filled in.
        tasks: The tasks that a rate is chosen for together.
        seeds: All seeds.
        run: Runs (method, trial) pairs with some seeds on all tasks; returns the losses of each pair.
        is_halved: As `rungs`.

    Returns:
        Method -> the chosen trial, None where no trial ended on all tasks.
    """
    number = max(map(len, trials.values()), default=0)
    left = {method: list(own) for method, own in trials.items()}
    for most, due in rungs(number, seeds, is_halved=is_halved):
        for method, own in left.items():
            left[method] = (
                sorted(own, key=lambda one: one.merit(tasks))[:most] if most < number else own
            )
        pairs = [(method, trial) for method, own in left.items() for trial in own]
        for (_, trial), losses in zip(pairs, run(pairs, due), strict=True):
            trial.losses.update(losses)
    return {method: best(own, tasks, seeds) for method, own in left.items()}


def best(trials: Sequence[Trial], tasks: Sequence[str], seeds: Collection[int]) -> Trial | None:
    """Return the trial of the lowest merit among those that have every seed; None if none ended."""
    whole = [
        one
        for one in trials
        if all((task, seed) in one.losses for task in tasks for seed in seeds)
        and not math.isinf(one.merit(tasks))
    ]
    return min(whole, key=lambda one: one.merit(tasks), default=None)
