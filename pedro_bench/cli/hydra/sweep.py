"""A sweep: its combinations, composed and checked before the first of them runs.

Composing takes Hydra a tenth of a second and more, and a sweep may have a thousand combinations. So what
Hydra merges from files is composed once for each choice of options, and a combination's own values are set
on a copy of it; a test compares the two ways. A group's part depends on its own overrides and on those of no
group, since no YAML refers to another group.

Grids: the combinations of an experiment (`conf/experiment/*.yaml`), as one or several sweeps.

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
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.hydra.compose import compose, composer, grid_of, keys_of, plain_of, stripped
from pedro_bench.cli.hydra.overrides import normal, one_sentence, parse
from pedro_bench.cli.hydra.rates import rated
from pedro_bench.cli.options import groups, options
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import GROUPS, Settings


@dataclass(frozen=True)
class Combination:
    """One configuration of a sweep: the overrides that separate it from the others, and what all build."""

    overrides: tuple[str, ...]
    settings: Settings


def sweep_of(arguments: Sequence[str], shown: Sequence[str] = ()) -> list[Combination]:
    """Compose and build every combination of a multirun, in Hydra's order.

    `shown` are keys that separate a combination from others although they have one value here.

    Raises:
        ConfigError: If any combination is wrong; the message names it.
    """
    with composer():
        typed = parse(arguments)
        fixed = [normal(one) for one in typed if not one.is_sweep_override()]
        parameters = compose(fixed).hydra.sweeper.get("params") or {}
        chosen = {one.key_or_group: one for one in typed}
        swept = [
            normal(chosen.get(key) or parse([f"{key}={value}"])[0])
            for key, value in parameters.items()
        ]
        together = parse([*swept, *map(normal, typed)])
        several = {one.get_key_element() for one in together if one.is_sweep_override()}
        replaced = [key for key in chosen if "," in str(parameters.get(key, ""))]
        several |= {f"{sign}{key}" for key in (*shown, *replaced) for sign in ("", "+", "++")}
        values = {one.get_key_element(): _values(one) for one in together}
        assembler = Assembler()
        return [_combination(one, several, assembler) for one in product(*values.values())]


def _values(override: Override) -> list[str]:
    """Return an override once for each value that it lists.

    Raises:
        ConfigError: If it asks for a range or a choice at random.
    """
    if not override.is_sweep_override():
        return [f"{override.get_key_element()}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise ConfigError(f"a sweep must list its values, got {override.input_line!r}.")
    return [f"{override.get_key_element()}={one}" for one in override.sweep_string_iterator()]


class Assembler:
    """Composes the combinations of one sweep; it works while Hydra is ready (`compose.composer`)."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._parts: dict[tuple[str, ...], dict[str, Any]] = {}
        self._parser = OverridesParser.create()

    def assembled(self, combination: Sequence[str]) -> dict[str, Any]:
        """Return what Hydra composes from normalised overrides; ConfigError if they do not fit together."""
        if any(line.startswith("~") for line in combination):
            return plain_of(compose(combination))
        own: dict[str, list[str]] = {}
        for line in combination:
            group = line.lstrip("+").partition("=")[0].partition(".")[0]
            own.setdefault(group if group in GROUPS else "", []).append(line)
        shared = own.pop("", [])
        choices = [line for line in shared if not _is_value(line)]
        parts: dict[str, Any] = {}
        for group, lines in own.items():
            parts |= self._part((*choices, *lines), group)
        return {**self._part(tuple(shared)), **parts}

    def _part(self, lines: tuple[str, ...], group: str | None = None) -> dict[str, Any]:
        """Return what some overrides make of the whole configuration, or of one group of it."""
        if lines not in self._parts:
            base = self._base(tuple(line for line in lines if not _is_value(line)))
            config = deepcopy(base) if group is None else OmegaConf.masked_copy(base, group)
            with one_sentence():
                for one in self._parser.parse_overrides([*filter(_is_value, lines)]):
                    OmegaConf.update(config, one.key_or_group, one.value(), force_add=True)
            self._parts[lines] = plain_of(config)
        return self._parts[lines]

    def _base(self, choices: tuple[str, ...]) -> DictConfig:
        if choices not in self._bases:
            self._bases[choices] = stripped(compose(choices))
        return self._bases[choices]


def _is_value(line: str) -> bool:
    """Whether a normalised override sets a value, rather than choosing an option or speaking to Hydra."""
    return line.startswith("++") and "@" not in line.partition("=")[0]


def _combination(overrides: Sequence[str], several: set[str], assembler: Assembler) -> Combination:
    shown = tuple(one.lstrip("+") for one in overrides if one.partition("=")[0] in several)
    try:
        typed = keys_of(overrides)
        config = rated(assembler.assembled(overrides), typed)
        return Combination(shown, settings_from(config, typed))
    except ConfigError as error:
        place = f" (in the combination {' '.join(shown)})" if shown else ""
        raise ConfigError(f"{error}{place}") from error


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
    typed = {_key(one): _part_values(one.partition("=")[2]) for one in arguments}
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
    """Return the name of the experiment that the overrides choose, if any.

    Raises:
        ConfigError: If they choose several, of whose grids none would be worked off.
    """
    names = [one.partition("=")[2] for one in arguments if _key(one) == EXPERIMENT]
    if names and set(names[-1]) & set(",*("):
        raise ConfigError(
            f"experiment must name one grid, got {names[-1]!r}: start a command for each."
        )
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
    return {str(key): _part_values(value) for key, value in given.items()}


def _part_values(given: Any) -> tuple[str, ...]:
    """Split comma-separated values; what has brackets or quotes is one value."""
    text = str(given)
    if any(sign in text for sign in "[](){}'\""):
        return (text,)
    return tuple(value.strip() for value in text.split(","))


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]
