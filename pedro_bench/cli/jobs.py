"""Jobs: the combinations of a sweep, composed and checked before the first of them runs.

Composing takes Hydra a tenth of a second and more, and a sweep may have a thousand jobs. So what Hydra merges
from files is composed once for each choice of options, and a job's own values are set on a copy of it, by
Hydra's own routine; a test compares the two ways. A group's part depends on its own overrides and on those
of no group, since no YAML refers to another group.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.compose import compose, composer, keys_of, plain_of, stripped
from pedro_bench.cli.overrides import normal, parse, told
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import GROUPS, Settings


@dataclass(frozen=True)
class Combination:
    """One job of a sweep.

    Attributes:
        overrides: Those that tell it from the others, as shown.
        arguments: All of them, for Hydra.
        settings: What they build.
    """

    overrides: tuple[str, ...]
    arguments: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class Sweep:
    """A multirun, every combination of it checked.

    Attributes:
        arguments: Overrides that all jobs share, those of Hydra's own node included, normalised.
        combinations: The jobs, in Hydra's order.
    """

    arguments: tuple[str, ...]
    combinations: tuple[Combination, ...]


def sweep_of(arguments: Sequence[str], shown: Sequence[str] = ()) -> Sweep:
    """Compose and build every combination of a multirun.

    Args:
        arguments: Overrides as typed.
        shown: Keys that tell a combination from others although they have one value here.

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
        try:
            jobs = BasicSweeper.split_arguments(together, None)[0]
        except HydraException as error:
            raise ConfigError(f"a sweep must list its values, got: {error}.") from error
        assembler = Assembler()
        combinations = tuple(_combination(job, several, assembler) for job in jobs)
    return Sweep(tuple(fixed), combinations)


class Assembler:
    """Composes the jobs of one sweep; it works while Hydra is ready (`compose.composer`)."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._parts: dict[tuple[str, ...], dict[str, Any]] = {}
        self._parser = OverridesParser.create()

    def assembled(self, job: Sequence[str]) -> dict[str, Any]:
        """Return the configuration of one job, equal to what Hydra composes from its overrides.

        Args:
            job: Normalised overrides.

        Raises:
            ConfigError: If they do not fit together.
        """
        if any(line.startswith("~") for line in job):
            return plain_of(compose(job))
        own: dict[str, list[str]] = {}
        for line in job:
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
                values = self._parser.parse_overrides([line for line in lines if _is_value(line)])
                ConfigLoaderImpl._apply_overrides_to_config(values, config)
            self._parts[lines] = plain_of(config)
        return self._parts[lines]

    def _base(self, choices: tuple[str, ...]) -> DictConfig:
        if choices not in self._bases:
            self._bases[choices] = stripped(compose(choices))
        return self._bases[choices]


def _is_value(line: str) -> bool:
    """Whether a normalised override sets a value, rather than choosing an option or speaking to Hydra."""
    return line.startswith("++") and "@" not in line.partition("=")[0]


def _combination(job: Sequence[str], several: set[str], assembler: Assembler) -> Combination:
    shown = tuple(override.lstrip("+") for override in job if override.partition("=")[0] in several)
    try:
        settings = settings_from(assembler.assembled(job), keys_of(job))
    except ConfigError as error:
        place = f" (in the combination {' '.join(shown)})" if shown else ""
        raise ConfigError(f"{error}{place}") from error
    arguments = tuple(one for one in job if not one.lstrip("+~").startswith(("hydra.", "hydra/")))
    return Combination(shown, arguments, settings)
