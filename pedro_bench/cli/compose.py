"""Compose: overrides as typed -> built settings, with every mistake told in one sentence.

Hydra does the composing. Two things are added on top: an override of a key that the YAML leaves
out but the dataclass has works (`method.lr=1e-3`), and what is unknown is answered with the near
match. So a value override becomes Hydra's `++key=value`, and the dataclass, not the YAML, decides
which keys exist.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.options import (
    check_option,
    conf_folder,
    conf_folders,
    groups,
    suggest_override,
)
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.settings import Settings

HYDRA_VERSION_BASE = "1.3"

GRID = "grid"
"""Node in which an experiment describes its grid; like Hydra's own, no part of a configuration."""

_FROM_OMEGACONF = (ValueError, TypeError, AttributeError, AssertionError)
"""What OmegaConf raises on top of its own errors when an override does not fit a node."""


def settings_of(arguments: Sequence[str]) -> Settings:
    """Compose and build one configuration.

    Raises:
        ConfigError: If anything about the overrides is wrong.
    """
    return settings_from(configuration_of(arguments), keys_of(arguments))


def keys_of(arguments: Sequence[str]) -> frozenset[str]:
    """Return the keys that overrides set, such as `method.r` of `++method.r=3`."""
    return frozenset(argument.partition("=")[0].lstrip("+~") for argument in arguments)


def configuration_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Compose one configuration to plain types, not yet built.

    Raises:
        ConfigError: If an override is malformed, names several values, or an option is unknown.
    """
    with composer():
        return plain_of(compose([normal(override) for override in _parse_single(arguments)]))


def side_by_side(
    group: str, names: Sequence[str], arguments: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compose one configuration, and several options of a group under the same overrides.

    All in one go, since composing takes Hydra a third of a second each time.

    Args:
        group: The group, such as `method`.
        names: Its options.
        arguments: Overrides, none of which chooses an option of `group`.

    Returns:
        The configuration, whose own `group` is the default, and name -> configuration of the group.

    Raises:
        ConfigError: As `configuration_of`.
    """
    places = {name: f"{group}_{number}" for number, name in enumerate(names)}
    with composer():
        lines = [f"+{group}@{place}={name}" for name, place in places.items()]
        for override in _parse_single(arguments):
            line = normal(override)
            if override.key_or_group.startswith(f"{group}."):
                own = (line.replace(f"{group}.", f"{place}.", 1) for place in places.values())
                lines.extend(own)
            else:
                lines.append(line)
        config = plain_of(compose(lines))
    return config, {name: config.pop(place) for name, place in places.items()}


def grid_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the chosen experiment says of its grid, not yet composed.

    Returns:
        Its `grid` node (see `cli/grids.py`), and under `params` what Hydra's sweeper would sweep over.

    Raises:
        ConfigError: If the overrides are wrong.
    """
    with composer():
        fixed = [normal(one) for one in parse(arguments) if not one.is_sweep_override()]
        config = compose(fixed)
        params = OmegaConf.to_container(OmegaConf.create(config.hydra.sweeper.get("params") or {}))
        grid = OmegaConf.to_container(OmegaConf.create(config.get(GRID) or {}))
    known = {"params": params, **(grid if isinstance(grid, dict) else {})}
    return {str(key): value for key, value in known.items()}


@contextmanager
def launcher_config(arguments: Sequence[str]) -> Iterator[tuple[ConfigLoader, DictConfig]]:
    """Compose what a Hydra launcher starts with, and keep Hydra ready for the time of a `with` block.

    Args:
        arguments: A sweep's overrides that have one value, and of Hydra's own node.
    """
    with composer():
        config = compose(["hydra.mode=MULTIRUN", *arguments])
        yield GlobalHydra.instance().config_loader(), config


def split_extra(
    arguments: Sequence[str], extra: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Take a command's own keys out of the arguments.

    Args:
        arguments: Overrides as typed.
        extra: The command's own keys with their defaults.

    Returns:
        The values of those keys, and the other arguments.

    Raises:
        ConfigError: If an override is malformed.
    """
    values, others = dict(extra), []
    for argument in arguments:
        if argument.partition("=")[0] in extra:
            override = _parse_override(argument)
            swept = override.is_sweep_override()
            values[override.key_or_group] = (
                list(override.sweep_iterator()) if swept else override.value()
            )
        else:
            others.append(argument)
    return values, others


def only_extra(arguments: Sequence[str], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of a command that has its own keys only.

    Raises:
        ConfigError: If an override is malformed or its key unknown.
    """
    values, others = split_extra(arguments, extra)
    for argument in others:
        key = argument.partition("=")[0]
        raise ConfigError(f"{key} must be a known key, got {argument!r}.{near_match(key, extra)}")
    return values


def _several_values(override: Override) -> str:
    key = override.key_or_group
    values = str(override.input_line).partition("=")[2]
    listed = "" if key in groups() else f", or write a list as '{key}=[{values}]'"
    return f"{key} must have one value, got {values}: add -m to run each{listed}."


@contextmanager
def composer() -> Iterator[None]:
    """Keep Hydra ready for the time of a `with` block."""
    with initialize_config_dir(str(conf_folder()), version_base=HYDRA_VERSION_BASE):
        yield


def parse(arguments: Sequence[str]) -> list[Override]:
    """Parse overrides and check the options they name.

    Raises:
        ConfigError: If one is malformed or names what is not there.
    """
    return [_parse_override(argument) for argument in arguments]


def _parse_single(arguments: Sequence[str]) -> list[Override]:
    """Parse overrides that have one value each.

    Raises:
        ConfigError: If one is malformed or has several.
    """
    overrides = parse(arguments)
    for override in overrides:
        if override.is_sweep_override():
            raise ConfigError(_several_values(override))
    return overrides


def _parse_override(argument: str) -> Override:
    """Parse one override and check the option it names."""
    if not argument.partition("=")[0] or ("=" not in argument and not argument.startswith("~")):
        raise ConfigError(
            f"an override must have the form key=value, got {argument!r}."
            + suggest_override(argument)
        )
    loader = GlobalHydra.instance().config_loader() if GlobalHydra().is_initialized() else None
    try:
        override = OverridesParser.create(config_loader=loader).parse_overrides([argument])[0]
    except OverrideParseException as error:
        reason = str(error.message).strip().splitlines()[0].split(": ", 1)[-1]
        raise ConfigError(
            f"an override must have the form key=value, got {argument!r} ({reason}): quote "
            "values with special characters, as in 'key=\"a b\"'."
        ) from error
    key = override.key_or_group
    if key.partition(".")[0] == GRID:
        raise ConfigError(f"{key} must be left to experiments, got {argument!r}.")
    if key in groups() and not override.is_delete():
        chosen = override.sweep_iterator() if override.is_discrete_sweep() else [override.value()]
        for option in chosen:
            check_option(key, option)
    return override


def normal(override: Override) -> str:
    """Return the override as Hydra shall see it (see the module's docstring)."""
    line, key = str(override.input_line), override.key_or_group
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    if not plain or override.is_hydra_override():
        return line
    if key in groups():
        known = f"- {key}:" in (conf_folder() / "config.yaml").read_text(encoding="utf-8")
        return line if known else f"+{line}"
    return f"++{line}"


def _search_path() -> list[str]:
    """Return the override that tells Hydra of folders other than the package's own."""
    outside = [f"file://{folder}" for folder in conf_folders()[1:]]
    return [f"hydra.searchpath={json.dumps(outside, ensure_ascii=False)}"] if outside else []


def compose(arguments: Sequence[str]) -> DictConfig:
    """Compose with Hydra; the result has its `hydra` node.

    Raises:
        ConfigError: With Hydra's reason as one sentence.
    """
    with told():
        overrides = [*_search_path(), *arguments]
        return hydra_compose("config", overrides=overrides, return_hydra_config=True)


@contextmanager
def told() -> Iterator[None]:
    """Tell what Hydra or OmegaConf refuse in a `with` block as one sentence.

    Raises:
        ConfigError: In the place of theirs.
    """
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise ConfigError(
            f"{group or 'config'} must be one of the known options, got {option!r}."
            + near_match(option, error.options or ())
        ) from error
    except (HydraException, OmegaConfBaseException, *_FROM_OMEGACONF) as error:
        causes = (one for one in (error, error.__cause__) if one is not None)
        reasons = [str(one).strip().splitlines()[0].rstrip(".") for one in causes]
        raise ConfigError(f"the overrides must fit together, got: {'; '.join(reasons)}.") from error


def stripped(config: DictConfig) -> DictConfig:
    """Take out what is no part of a configuration, Hydra's own node and an experiment's grid."""
    with open_dict(config):
        config.pop("hydra", None)
        config.pop(GRID, None)
    return config


def plain_of(config: DictConfig) -> dict[str, Any]:
    """Resolve a composed configuration to plain types, stripped."""
    try:
        plain = OmegaConf.to_container(stripped(config), resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = str(error.full_key)
        raise ConfigError(
            f"{key} must be given, got nothing: add {key}=… to the command."
        ) from error
    except OmegaConfBaseException as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"the configuration must resolve, got: {reason}.") from error
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
