"""Overrides: `key=value` as typed -> Hydra's overrides, with one sentence for every mistake.

A command's own keys are read here alone (`split_extra`); the others are composed (`compose.py`).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Sweep, Transformer
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pedro_bench import checks
from pedro_bench.cli.hydra.option_files import inner_keys, unreadable
from pedro_bench.cli.options import check_option, conf_folder, groups, suggest_override
from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.settings import KNOWN_KEYS

GRID = "grid"
"""Node in which an experiment describes its grid; like Hydra's own, no part of a configuration."""

PATHS = (
    "results_dir",
    "output_dir",
    "tables_dir",
    "figures_dir",
    "rates_dir",
    "run",
    "out",
    "predictions",
    "data.root",
)
"""Keys of commands that are paths."""

MOST_VALUES = 1000
"""Most values of one key that are listed."""

_FROM_OMEGACONF = (ValueError, TypeError, AttributeError, AssertionError)
"""What OmegaConf raises on top of its own errors when an override does not fit a node."""


def parse(arguments: Sequence[str]) -> list[Override]:
    """Parse overrides and check the options they name.

    Raises:
        ConfigError: If one is malformed or names what is not there.
    """
    return [_parse_override(argument) for argument in arguments]


def parse_single(arguments: Sequence[str]) -> list[Override]:
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
    key = argument.partition("=")[0].lstrip("+~")
    if not key or ("=" not in argument and not argument.startswith("~")):
        raise ConfigError(
            f"an override must have the form key=value, got {argument!r}."
            + suggest_override(argument)
        )
    loader = GlobalHydra.instance().config_loader() if GlobalHydra().is_initialized() else None
    try:
        parser = OverridesParser.create(config_loader=loader)
        override = parser.parse_overrides([_with_paths_quoted(argument)])[0]
    except OverrideParseException as error:
        raise ConfigError(_malformed(argument, str(error.message))) from error
    key = override.key_or_group
    _refuse_inner_sweeps(override)
    _refuse_empty_mapping(override)
    if key.partition(".")[0] == GRID:
        raise ConfigError(f"{key} must be left to experiments, got {argument!r}.")
    if key in groups() and not override.is_delete():
        chosen = override.sweep_iterator() if override.is_discrete_sweep() else [override.value()]
        for option in chosen:
            check_option(key, option)
    return override


_NAME = r"[\w$][\w$-]*"
_KEY = re.compile(rf"[+~]*{_NAME}([./]{_NAME})*(@.*)?")
_TEXT = re.compile(r"""(?<!\\)(["']).*?(?<!\\)\1""")
_LONE_COMMA = re.compile(r"(^|[,(\[{]),|,($|[)\]}])")
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_FUNCTION = re.compile(r" while evaluating '.*?': (.*)")
"""What Hydra says of a value such as `range(a)`, with the reason."""


def _malformed(argument: str, message: str) -> str:
    """Return what is wrong with an override that Hydra cannot read; its own words are of its grammar."""
    if found := _FUNCTION.search(message):
        return (
            f"a value of the form name(…) must be a function of Hydra's, such as range(3), got {argument!r} "
            f"({found[1]}): quote a text, as in 'key=\"a(b)\"'."
        )
    fault = _fault_of(argument.partition("=")[2])
    if fault == ",":
        return (
            f"an override must have a value on each side of a comma, got {argument!r}: leave the comma out, "
            "or quote a text that has one, as in 'key=\"a,b\"'."
        )
    if fault:
        return (
            f"an override must have brackets and quotation marks in pairs, got {argument!r} with "
            f"{fault} alone: write the other one, or quote a text that has one, as in 'key=\"a(b\"'."
        )
    if not _KEY.fullmatch(argument.partition("=")[0]):
        return f"the key of an override must be names joined by dots, such as method.r, got {argument!r}."
    return (
        f"an override must have the form key=value, got {argument!r}: quote values with special "
        "characters, as in 'key=\"a b\"'."
    )


def _fault_of(value: str) -> str:
    """Return what is without its counterpart in a value: a bracket, a quotation mark, or a comma."""
    bare = _TEXT.sub("a", value).replace(" ", "")
    opened = list[str]()
    for one in bare:
        if one in "\"'" or (one in _BRACKETS and (not opened or opened.pop() != _BRACKETS[one])):
            return one
        opened += [one] if one in _BRACKETS.values() else []
    if opened:
        return opened[-1]
    return "," if _LONE_COMMA.search(bare) else ""


def _refuse_inner_sweeps(override: Override) -> None:
    """Refuse a sweep such as range(5) within a list or beside other values, where Hydra breaks down."""
    value: Any = override.value()
    items = value.list if isinstance(value, ChoiceSweep) else value
    if isinstance(items, list) and any(isinstance(one, Sweep) for one in items):
        raise ConfigError(
            f"{override.key_or_group} must list its values one by one, got "
            f"{str(override.input_line).partition('=')[2]}: write 0,1,2 in place of range(3)."
        )


def _refuse_empty_mapping(override: Override) -> None:
    """Refuse {} as a setting: a mapping's entries are added to the option's, so it would change nothing."""
    key, value = override.key_or_group, override.value()
    items = value.list if isinstance(value, ChoiceSweep) else [value]
    if "." in key and key.partition(".")[0] in groups() and {} in items:
        raise ConfigError(
            f"{key} must name entries, which are added to those of the option, got {{}}: leave it out, or "
            f"remove an entry with ~{key}.NAME."
        )


def _with_paths_quoted(argument: str) -> str:
    """Put values with `~` or letters beyond ASCII in quotes, without which Hydra does not read them."""
    key, sign, value = argument.partition("=")
    if not _needs_quotes(value) or set(value) & set("[]{}()'\""):
        return argument
    parts = (f'"{one}"' if _needs_quotes(one) else one for one in value.split(","))
    return f"{key}{sign}{','.join(parts)}"


def _needs_quotes(value: str) -> bool:
    return "~" in value or not value.isascii()


def normal(override: Override) -> str:
    """Return the override as Hydra shall see it: a value as `++key=value` (see `compose.py`)."""
    line, key = str(override.input_line), override.key_or_group
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    if not plain or override.is_hydra_override():
        return line
    if key in groups():
        known = f"- {key}:" in (conf_folder() / "config.yaml").read_text(encoding="utf-8")
        return line if known else f"+{line}"
    return f"++{line}"


def split_extra(
    arguments: Sequence[str], extra: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Take a command's own keys (`extra`, with defaults) out of overrides; return their values and the rest.

    Raises:
        ConfigError: If an override is malformed, or its key is neither the command's nor a configuration's.
    """
    values, others = _divided(arguments, extra)
    known = {*KNOWN_KEYS, *groups(), "hydra"}
    for argument in others:
        key = argument.lstrip("+~").partition("=")[0]
        if "=" in argument and re.split(r"[./@]", key)[0] not in known:
            raise _unknown_key(argument, (*extra, *KNOWN_KEYS), inner_keys())
    return values, others


def _divided(
    arguments: Sequence[str], extra: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    values, others = dict(extra), []
    for argument in arguments:
        if argument.partition("=")[0] in extra:
            override = _parse_override(argument)
            key = override.key_or_group
            value = _listed(override) if override.is_sweep_override() else override.value()
            may_be_null = extra[key] is None and value is None
            is_path = key in PATHS and not may_be_null
            values[key] = checks.path(key, value) if is_path else value
        else:
            others.append(argument)
    return values, others


def only_extra(arguments: Sequence[str], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of a command that has its own keys only.

    Raises:
        ConfigError: If an override is malformed or its key unknown.
    """
    values, others = _divided(arguments, extra)
    if others:
        raise _unknown_key(others[0], extra)
    return values


def _unknown_key(argument: str, known: Collection[str], inner: Collection[str] = ()) -> ConfigError:
    key = argument.partition("=")[0].lstrip("+~")
    hint = near_match(key, known, inner)
    return ConfigError(f"{key} must be a known key, got {argument!r}.{hint}")


def _several_values(override: Override) -> str:
    key = override.key_or_group
    values = str(override.input_line).partition("=")[2]
    found = ",".join(map(str, _listed(override, Transformer.encode)))
    many = "" if key in groups() else f", or, where a list is meant, write '{key}=[{found}]'"
    return f"{key} must have one value, got {values}: add -m to run each{many}."


def _listed(override: Override, transformer: Any = Transformer.identity) -> list[Any]:
    """Return the values of a sweep.

    Raises:
        ConfigError: If they cannot be listed, or are too many to be meant.
    """
    key, most = override.key_or_group, MOST_VALUES
    found = []
    if override.is_discrete_sweep():
        with suppress(HydraException):  # a glob of what is no group
            found = list(islice(override.sweep_iterator(transformer), most + 1))
    if not 0 < len(found) <= most:
        raise ConfigError(
            f"{key} must have values that can be listed, {most} at most, got "
            f"{str(override.input_line).partition('=')[2]}: write them out, or use range(…)."
        )
    return found


@contextmanager
def one_sentence() -> Iterator[None]:
    """Put what Hydra or OmegaConf refuse in a `with` block into one sentence.

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
    except YAMLError as error:
        raise unreadable(error) from error
    except (HydraException, OmegaConfBaseException, *_FROM_OMEGACONF) as error:
        causes = (one for one in (error, error.__cause__) if one is not None)
        reasons = [str(one).strip().splitlines()[0].rstrip(".") for one in causes]
        raise ConfigError(f"the overrides must fit together, got: {'; '.join(reasons)}.") from error
