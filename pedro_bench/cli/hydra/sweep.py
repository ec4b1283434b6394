"""A sweep: its combinations, composed and checked before the first of them runs.

Composing takes Hydra a tenth of a second and more, and a sweep may have a thousand combinations. So what
Hydra merges from files is composed once for each choice of options, and a combination's own values are set
on a copy of it; a test compares the two ways. A group's part depends on its own overrides and on those of no
group, since no YAML refers to another group.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.hydra.compose import compose, composer, keys_of, plain_of, stripped
from pedro_bench.cli.hydra.overrides import normal, parse, told
from pedro_bench.cli.hydra.rates import rated
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import GROUPS, Settings


@dataclass(frozen=True)
class Combination:
    """One configuration of a sweep.

    Attributes:
        overrides: Those that tell it from the others, as shown.
        settings: What all of its overrides build.
    """

    overrides: tuple[str, ...]
    settings: Settings


def sweep_of(arguments: Sequence[str], shown: Sequence[str] = ()) -> list[Combination]:
    """Compose and build every combination of a multirun.

    Args:
        arguments: Overrides as typed.
        shown: Keys that tell a combination from others although they have one value here.

    Returns:
        The combinations, in Hydra's order.

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
        """Return the configuration of one combination, equal to what Hydra composes from its overrides.

        Args:
            combination: Normalised overrides.

        Raises:
            ConfigError: If they do not fit together.
        """
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
            with told():
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
