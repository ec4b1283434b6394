"""Compose: overrides as typed -> built settings, with one sentence for every mistake.

Hydra does the composing. Two things are added on top: an override of a key that the YAML leaves
out but the dataclass has works (`method.lr=1e-3`), and what is unknown is answered with the near
match. So a value override becomes Hydra's `++key=value` (`overrides.normal`), and the dataclass, not
the YAML, decides which keys exist.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pedro_bench.cli.budget import settings_from
from pedro_bench.cli.hydra.option_files import check_outside
from pedro_bench.cli.hydra.overrides import GRID, normal, one_sentence, parse, parse_single
from pedro_bench.cli.hydra.rates import rated
from pedro_bench.cli.options import conf_folder, conf_folders
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import Settings

HYDRA_VERSION_BASE = "1.3"


def settings_of(arguments: Sequence[str]) -> Settings:
    """Compose and build one configuration."""
    typed = keys_of(arguments)
    return settings_from(rated(configuration_of(arguments), typed), typed)


def keys_of(arguments: Sequence[str]) -> frozenset[str]:
    """Return the keys that overrides set, such as `method.r` of `++method.r=3`."""
    return frozenset(argument.partition("=")[0].lstrip("+~") for argument in arguments)


def configuration_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Compose one configuration to plain types, not yet built.

    Raises:
        ConfigError: If an override is malformed, names several values, or an option is unknown.
    """
    with composer():
        return plain_of(compose([normal(override) for override in parse_single(arguments)]))


def side_by_side(
    group: str, names: Sequence[str], arguments: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compose one configuration, and several options of a group under the same overrides.

    All in one go, since composing takes Hydra a third of a second each time. No override may choose an
    option of `group`.

    Returns:
        The configuration, whose own `group` is the default, and name -> configuration of the group.
    """
    places = {name: f"{group}_{number}" for number, name in enumerate(names)}
    with composer():
        lines = [f"+{group}@{place}={name}" for name, place in places.items()]
        for override in parse_single(arguments):
            line = normal(override)
            if override.key_or_group.startswith(f"{group}."):
                own = (line.replace(f"{group}.", f"{place}.", 1) for place in places.values())
                lines.extend(own)
            else:
                lines.append(line)
        config = plain_of(compose(lines))
    return config, {name: config.pop(place) for name, place in places.items()}


def grid_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the experiment's `grid` node, and under `params` what Hydra's sweeper would sweep over."""
    with composer():
        fixed = [normal(one) for one in parse(arguments) if not one.is_sweep_override()]
        config = compose(fixed)
        params = OmegaConf.to_container(OmegaConf.create(config.hydra.sweeper.get("params") or {}))
        grid = OmegaConf.to_container(OmegaConf.create(config.get(GRID) or {}))
    known = {"params": params, **(grid if isinstance(grid, dict) else {})}
    return {str(key): value for key, value in known.items()}


@contextmanager
def composer() -> Iterator[None]:
    """Keep Hydra ready for the time of a `with` block."""
    with initialize_config_dir(str(conf_folder()), version_base=HYDRA_VERSION_BASE):
        yield


def search_path() -> list[str]:
    """Return the override that gives Hydra the folders other than the package's own."""
    outside = [f"file://{folder}" for folder in conf_folders()[1:]]
    return [f"hydra.searchpath={json.dumps(outside, ensure_ascii=False)}"] if outside else []


def compose(arguments: Sequence[str], name: str = "config") -> DictConfig:
    """Compose with Hydra; the result has its `hydra` node.

    Raises:
        ConfigError: With Hydra's reason as one sentence; or an option's YAML as `check_outside`.
    """
    with one_sentence():
        overrides = [*search_path(), *arguments]
        config = hydra_compose(name, overrides=overrides, return_hydra_config=True)
    for place, option in config.hydra.runtime.choices.items():
        check_outside(place.partition("@")[0], option)
    return config


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
