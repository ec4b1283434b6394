"""Rates: training settings by backbone, method and task; `trainer.rates=NAME` reads `conf/rates/NAME.yaml`.

    - for: {backbone: roberta_base, method: red}
      set:
        method.lr: {mnli: 1.0e-3, rte: 8.0e-3}       # one for each task
        trainer.batch_size: 32                       # the same for all

Rules hold in their order and a later one wins; `for` may name one backbone, method or task or a list, and
what it leaves out holds for all. A third key, `tried`, tells how a rule was found (`cli.tune`); the rule that
gives a run its rate leaves it in the record as `trainer.tried`, for the notes of tables. A typed setting wins
over the file. What was chosen is recorded as if it had been typed, so a run has the key of the run that names
the same settings itself.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pedro_bench import files
from pedro_bench.cli.options import RATES, check_option, conf_folders
from pedro_bench.errors import ConfigError, near_match

CONDITIONS = ("backbone", "method", "task")
TARGETS = ("method", "trainer", "evaluation")
"""Groups whose settings a rule may set."""

_HEAD = "# Found on dev data by"

RATE = "method.lr"
FALLBACK = "trainer.lr"
"""The rate of methods without one of their own; typed, it wins over a rule's rate of the method."""


def rated(config: Mapping[str, Any], typed: Collection[str] = ()) -> Mapping[str, Any]:
    """Return a composed configuration with the settings that `trainer.rates` names for it.

    Args:
        config: As for `build_settings`; left as it is.
        typed: Keys that were typed, such as `trainer.num_epochs`; they keep their values.

    Raises:
        ConfigError: If there is no such file, a rule is malformed, or none gives this method a rate.
    """
    name = (config.get("trainer") or {}).get("rates")
    own = {group: str((config.get(group) or {}).get("name", "")) for group in CONDITIONS}
    is_whole = all(own.values())  # what is left out is refused where settings are built
    if name is None or not is_whole:
        return config
    check_option(RATES, name)
    chosen: dict[str, Any] = {}
    tried = None
    for rule in _rules_of(_file(name)):
        if _holds(rule["for"], own):
            values = dict(_values(rule["set"], own["task"]))
            tried = rule.get("tried") if RATE in values else tried
            chosen |= values
    passed_over = {*typed, RATE} if FALLBACK in typed else typed
    chosen = {key: value for key, value in chosen.items() if key not in passed_over}
    if not any(key in chosen or key in typed for key in (RATE, FALLBACK)):
        raise ConfigError(
            f"trainer.rates={name} must have a rate for method={own['method']} task={own['task']} "
            f"backbone={own['backbone']}, got none: set {RATE}=…, or trainer.rates=null for the trainer's "
            "own."
        )
    result = {group: dict(value) if group in TARGETS else value for group, value in config.items()}
    for key, value in chosen.items():
        group, _, setting = key.partition(".")
        result[group][setting] = value
    if RATE in chosen and tried is not None:
        result["trainer"]["tried"] = tried
    return result


def check_extendable(path: Path) -> None:
    """Require that rules can be added to a file, or that there is none.

    Raises:
        ConfigError: If it is no table of rates, its rules do not each begin a line of their own, or a rule
            cannot be read without the others.
    """
    if not path.is_file():
        return
    rules = _rules_of(path)
    found = [one for one in _blocks(path.read_text(encoding="utf-8")) if _is_rule(one)]
    if len(found) != len(rules):
        raise ConfigError(
            f"rules of {path} must each begin a line with '- ', so that others can be added, got "
            f"{len(found)} such lines for {len(rules)} rules: write them so, or give another rates=NAME."
        )
    for number, (text, rule) in enumerate(zip(found, rules, strict=True), 1):
        if _parsed(text) != [rule]:
            raise ConfigError(
                f"rule {number} of {path} must be whole in its own lines, so that others can be added, got "
                f"{text.splitlines()[0]!r}: move comments within it to the end of a line, write out what "
                "it takes from other rules, or give another rates=NAME."
            )


def write_rates(path: Path, rules: Sequence[Mapping[str, Any]], command: str) -> None:
    """Write a table of rates; what the file holds stays as it is, before the new rules.

    Rules that a search found for fewer of their runs, such as one task, come behind them and stay in force.
    Where a new rule has the conditions of an old one, the old one goes if a search found it or if the new one
    sets all that it sets.

    Args:
        path: The file, made or replaced.
        rules: As in a file.
        command: What found them; it stands above them.

    Raises:
        ConfigError: As `check_extendable`.
    """
    check_extendable(path)
    blocks = _blocks(path.read_text(encoding="utf-8")) if path.is_file() else []
    kept, narrower = _divided(blocks, rules)
    # a command none of whose rules is left stands before another command, or at the end
    following = [*kept[1:], _HEAD]
    kept = [
        one
        for one, after in zip(kept, following, strict=False)
        if not (one.startswith(_HEAD) and after.startswith(_HEAD))
    ]
    lines = [f"{_HEAD}\n#   {command}\n"]
    for rule in rules:
        inner = ",\n   ".join(f"{key}: {json.dumps(value)}" for key, value in rule.items())
        lines.append(f"- {{{inner}}}\n")
    files.write_text(path, "".join([*kept, *lines, *narrower]), "rates_dir=…")


def _divided(
    blocks: Sequence[str], rules: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Return what of a file goes before new rules, and what goes behind them: rules with their commands.

    Those were found for fewer of the runs, such as one task, and would not be in force before them.
    """
    kept, narrower = list[str](), list[str]()
    command = moved = ""
    for block in blocks:
        if not _is_rule(block):
            command = block if block.startswith(_HEAD) else ""
            kept.append(block)
            continue
        rule = _parsed(block)[0]
        if _is_replaced(rule, rules):
            continue
        if "tried" not in rule or not any(_is_within(rule["for"], one["for"]) for one in rules):
            kept.append(block)
            continue
        narrower += [block] if command == moved else [command, block]
        moved = command
    return kept, narrower


def _is_within(narrow: Mapping[str, Any], wide: Mapping[str, Any]) -> bool:
    """Whether conditions are others and more besides."""
    shared = {group: narrow.get(group) for group in wide}
    return shared == wide and len(narrow) > len(wide)


def _blocks(text: str) -> list[str]:
    """Return the rules of a file, each with its lines, and what stands between them."""
    lines = (text.rstrip() + "\n").splitlines(keepends=True)
    starts = [
        number
        for number, line in enumerate(lines)
        if line.startswith(("- ", _HEAD))
        or (line.startswith("#") and number and not lines[number - 1].startswith("#"))
    ]
    places = sorted({0, *starts})
    return ["".join(lines[a:b]) for a, b in pairwise([*places, len(lines)])]


def _is_rule(block: str) -> bool:
    return block.startswith("- ")


def _is_replaced(rule: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a new rule for the same runs stands for this one; settings set by hand stay in force."""
    return any(
        one["for"] == rule["for"] and ("tried" in rule or set(rule["set"]) <= set(one["set"]))
        for one in rules
    )


def _parsed(text: str) -> Any:
    """Return what a part of a file says, or None where it cannot be read alone."""
    try:
        return OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except (YAMLError, OmegaConfBaseException):
        return None


def _file(name: str) -> Path:
    places = (folder / RATES / f"{name}.yaml" for folder in conf_folders())
    return next(path for path in places if path.is_file())


def _rules_of(path: Path) -> Sequence[Mapping[str, Any]]:
    """Return the rules of a file, which another process may have written since it was last read.

    Raises:
        ConfigError: If it is no list of rules that each say `for` and `set`.
    """
    return _rules(path, files.stamp(path))


@lru_cache
def _rules(path: Path, _stamp: tuple[int, int]) -> Sequence[Mapping[str, Any]]:
    try:
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{path} must be a YAML list of rules, got: {reason}.") from error
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path} must be a YAML list of rules, got {type(found).__name__}.")
    for number, rule in enumerate(found, 1):
        _check(rule, f"rule {number} of {path}")
    return found


def _check(rule: Any, place: str) -> None:
    if not isinstance(rule, Mapping) or set(rule) - {"tried"} != {"for", "set"}:
        raise ConfigError(f"{place} must have the keys for and set, got {rule!r}.")
    if not isinstance(rule["for"], Mapping) or not isinstance(rule["set"], Mapping):
        raise ConfigError(f"{place} must have mappings under for and set, got {rule!r}.")
    for key in rule["for"]:
        if key not in CONDITIONS:
            raise ConfigError(
                f"for in {place} must name {', '.join(CONDITIONS)}, got {key!r}."
                + near_match(str(key), CONDITIONS)
            )
    for key in rule["set"]:
        group, dot, _ = str(key).partition(".")
        if not dot or group not in TARGETS:
            raise ConfigError(
                f"set in {place} must name settings such as {RATE} of {', '.join(TARGETS)}, got {key!r}."
            )


def _holds(conditions: Mapping[str, Any], own: Mapping[str, str]) -> bool:
    return all(
        own[group] in (wanted if isinstance(wanted, list) else [wanted])
        for group, wanted in conditions.items()
    )


def _values(settings: Mapping[str, Any], task: str) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of a rule's settings; those that are given by task only where this one is named."""
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            yield key, value
        elif task in value:
            yield key, value[task]
