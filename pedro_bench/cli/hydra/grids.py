"""Grids: the combinations of an experiment (`conf/experiment/*.yaml`), as one or several sweeps.

    grid:
      parts:                     several products beside each other; the first is the general one
        - {method: "lora,ia3"}
        - {method: full_ft, backbone.dtype: float32}
      then: [command, …]         what makes the table from the runs, for people to read
      command: efficiency        another command makes the table, and no run does
      arguments: "…"             its arguments

What all parts share stands under Hydra's own `hydra.sweeper.params`. A typed key that the parts have
chooses among their values (`method=lora` runs LoRA's share of the grid); a value that none of them has
joins the first part that sets the key, so that `method=mine` runs a new method on the whole grid.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pedro_bench.cli.hydra.compose import grid_of
from pedro_bench.cli.hydra.sweep import Combination, sweep_of
from pedro_bench.cli.options import groups, options
from pedro_bench.errors import ConfigError

EXPERIMENT = "experiment"

Part = Mapping[str, tuple[str, ...]]
"""Key -> values of one product."""


def combinations_of(arguments: Sequence[str]) -> list[Combination]:
    """Compose and build every combination of a multirun or of an experiment's grid.

    Raises:
        ConfigError: If any combination is wrong, or the experiment names what does not exist here.
    """
    experiment = experiment_in(arguments)
    if experiment is None:
        return sweep_of(arguments)
    grid = grid_of([one for one in arguments if _key(one) == EXPERIMENT])
    typed = {_key(one): _values(one.partition("=")[2]) for one in arguments}
    _refuse_command(experiment, grid)
    parts = _chosen([_part(part) for part in grid.get("parts") or [{}]], typed)
    shared = {key: typed.get(key, value) for key, value in _part(grid["params"]).items()}
    _refuse_absent(experiment, [shared, *parts])
    if not parts:
        raise ConfigError(
            f"the typed values must leave something of experiment={experiment}, got none of its "
            "combinations."
        )
    return [one for part in parts for one in _sweep(part, arguments)]


def refuse_grid(arguments: Sequence[str]) -> None:
    """Refuse an experiment where a single configuration is asked for.

    Raises:
        ConfigError: If the overrides choose an experiment that is a grid.
    """
    experiment = experiment_in(arguments)
    if experiment is None:
        return
    grid = grid_of([one for one in arguments if _key(one) == EXPERIMENT])
    _refuse_command(experiment, grid)
    if grid["params"] or grid.get("parts"):
        raise ConfigError(
            f"experiment={experiment} must run as a grid, got a single run: write python -m "
            f"pedro_bench -m +experiment={experiment}."
        )


def experiment_in(arguments: Sequence[str]) -> str | None:
    """Return the name of the experiment that the overrides choose, if any."""
    names = [one.partition("=")[2] for one in arguments if _key(one) == EXPERIMENT]
    return names[-1] if names else None


def afterwards(arguments: Sequence[str]) -> list[str]:
    """Return the commands that an experiment names to make its table from the runs."""
    if experiment_in(arguments) is None:
        return []
    grid = grid_of([one for one in arguments if _key(one) == EXPERIMENT])
    return [str(line) for line in grid.get("then") or ()]


def _sweep(part: Part, arguments: Sequence[str]) -> list[Combination]:
    own = [f"{key}={','.join(values)}" for key, values in part.items()]
    others = [one for one in arguments if _key(one) not in part]
    return sweep_of([*own, *others], tuple(part))


def _chosen(parts: Sequence[Part], typed: Part) -> list[Part]:
    """Return what typed values leave of the parts (see the module's docstring)."""
    found = [dict(part) for part in parts]
    for key, values in typed.items():
        known = {value for part in parts for value in part.get(key, ())}
        if not known:
            continue
        fresh = tuple(value for value in values if value not in known)
        for part in found:
            if key in part:
                kept = tuple(value for value in values if value in part[key])
                part[key], fresh = (*kept, *fresh), ()
    return [part for part in found if all(part.values())]


def _refuse_command(experiment: str, grid: Mapping[str, Any]) -> None:
    """Refuse an experiment that another command makes.

    Raises:
        ConfigError: With the command, and whether this version has it.
    """
    command = grid.get("command")
    if command is None:
        return
    line = f"python -m pedro_bench.cli.{command} {grid.get('arguments', '')}".strip()
    absent = find_spec(f"pedro_bench.cli.{command}") is None
    lacks = ", a command that this version does not have" if absent else ""
    raise ConfigError(
        f"experiment={experiment} must be made by {line}{lacks}, since it measures and trains nothing, "
        "got a grid of runs."
    )


def _refuse_absent(experiment: str, parts: Sequence[Part]) -> None:
    """Refuse a grid that names options without a YAML.

    Raises:
        ConfigError: With all of them.
    """
    absent: dict[str, list[str]] = {}
    for key, value in _group_values(parts):
        if value not in options(key) and value not in absent.setdefault(key, []):
            absent[key].append(value)
    named = [f"{key} {', '.join(values)}" for key, values in absent.items() if values]
    if named:
        keys = " ".join(f"{key}=…" for key, values in absent.items() if values)
        raise ConfigError(
            f"experiment={experiment} must name what this version has, got no {' and no '.join(named)}"
            f": choose others with {keys}."
        )


def _group_values(parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
    for part in parts:
        for key in (key for key in part if key in groups()):
            for value in part[key]:
                yield key, value


def _part(given: Mapping[str, Any]) -> Part:
    return {str(key): _values(value) for key, value in given.items()}


def _values(given: Any) -> tuple[str, ...]:
    """Split comma-separated values; what has brackets or quotes is one value."""
    text = str(given)
    if any(sign in text for sign in "[](){}'\""):
        return (text,)
    return tuple(value.strip() for value in text.split(","))


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]
