"""Rerun: the command that makes some runs anew, from their configuration and the options in conf/."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import normalised, with_defaults_before
from pedro_bench.analysis.run import Run
from pedro_bench.cli.hydra.option_files import option_of
from pedro_bench.cli.options import CONFIG_DIR, conf_folders
from pedro_bench.efficiency.request import DEFAULTS as MEASURED
from pedro_bench.instruct.request import DEFAULTS as EVALUATED
from pedro_bench.instruct.request import source_of

_GROUPS = ("method", "task", "backbone", "data", "trainer", "evaluation")
_PLAIN = re.compile(r"[\w/.:@%+-]+")
_TYPED = re.compile(r"null|true|false|[-+]?[\d.][\d._e+-]*|[-+]?(inf|nan)", re.IGNORECASE)
"""Texts that Hydra takes as they are, and those of them that it takes for something else than a text."""
_NAMES = frozenset({"_target_", "name", "label", "version"})


def command_of(runs: Sequence[Run], results_dir: str | None = None) -> str:
    """Return the command that makes the runs of one cell anew.

    Settings are written where they differ from those of their option in conf/. Of evaluations each run has a
    command of its own, on a line.

    Args:
        runs: The runs of one cell.
        results_dir: Where the command is to put its records; None: it names no place, and does nothing
            where these records lie already.
    """
    first = runs[0]
    place = {} if results_dir is None else {"results_dir": results_dir}
    config = first.config
    if first.evaluates is not None:
        rows = source_of(config["data"]["data"].get("fingerprint", ""))
        own = {"suite": _evaluation_of(first), **rows, **_known(config["data"], EVALUATED), **place}
        commands = [{"run": _record(run), **own} for run in runs]
        return "\n".join(_command("pedro_bench.cli.instruct", one) for one in commands)
    if first.is_measurement:
        backbone = dict(_settings("backbone", config))
        own = {**_known(config["efficiency"], MEASURED), "suite": first.suite}
        return _command(
            "pedro_bench.cli.efficiency", {"backbone": first.backbone, **backbone, **own, **place}
        )
    chosen = {group: _name(config, group) for group in _GROUPS}
    chosen |= {"method": first.method, "task": first.task}
    chosen |= {"backbone": first.backbone, "data": first.data, "suite": first.suite}
    changed = dict(pair for group in _GROUPS for pair in _settings(group, config))
    if (config.get("method") or {}).get("lr") is not None:
        changed.pop("trainer.lr", None)  # not in force
    seeds = sorted(run.seed for run in runs)
    device = {"device": config["device"]} if config.get("device", "auto") != "auto" else {}
    outside = f" {CONFIG_DIR} DIR" if _is_from_outside(config) else ""
    return _command(
        f"pedro_bench{outside}",
        {**{k: v for k, v in chosen.items() if v}, "seeds": seeds, **changed, **device, **place},
    )


def _is_from_outside(config: Mapping[str, Any]) -> bool:
    """Whether an option or its class lies in a folder that `--config-dir` gave."""
    groups = [(group, config.get(group) or {}) for group in _GROUPS]
    targets = [str(own["_target_"]) for _, own in groups if "_target_" in own]
    files = (f"{group}/{own.get('name')}.yaml" for group, own in groups)
    return any(not target.startswith("pedro_bench.") for target in targets) or any(
        (folder / file).is_file() for file in files for folder in conf_folders()[1:]
    )


def _record(run: Run) -> str:
    """Return the place of the record that an evaluation is of."""
    results_dir = records.results_folder(run.path) or Path()
    return str(records.suite_folder(results_dir, run.suite) / f"{run.evaluates}.json")


def _evaluation_of(run: Run) -> str:
    """Return the suite of `cli.instruct` that made an evaluation; its task may be a turn of that."""
    return Path(run.path).parent.name


def _name(config: Mapping[str, Any], group: str) -> Any:
    return (config.get(group) or {}).get("name")


def _known(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some settings that a command has keys for, and that are not its defaults."""
    flat: dict[str, Any] = {}
    for part in (settings, *(one for one in settings.values() if isinstance(one, Mapping))):
        for name, value in part.items():
            if isinstance(value, Mapping):
                flat |= {f"{name}.{key}": one for key, one in value.items()}
            else:
                flat[name] = value
    return {
        name: flat[name]
        for name, default in defaults.items()
        if flat.get(name) is not None and flat[name] != default and name != "suite"
    }


def _settings(group: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a group that its option has otherwise; of texts and lists, not of mappings."""
    own = with_defaults_before(group, config.get(group)) or {}
    option = option_of(group, str(own.get("name")))
    kind = own.get("_target_")
    if kind is not None and (kind == option.get("_target_") or kind.startswith("pedro_bench.")):
        option = {**_defaults(kind), **option}  # a record alone does not decide what is imported
    for name, value in own.items():
        is_same = normalised(option.get(name)) == normalised(value)
        if name not in _NAMES and not is_same and not isinstance(value, Mapping):
            yield f"{group}.{name}", value


@lru_cache(maxsize=256)
def _defaults(kind: str) -> Mapping[str, Any]:
    """Return what a class has where the YAML names nothing; nothing of a class that is gone."""
    module, _, name = kind.rpartition(".")
    try:
        found = fields(getattr(import_module(module), name))
    except Exception:  # noqa: BLE001 - the module may be anybody's
        return {}
    return {
        one.name: one.default if one.default_factory is MISSING else one.default_factory()
        for one in found
        if one.default is not MISSING or one.default_factory is not MISSING
    }


def _command(module: str, settings: Mapping[str, Any]) -> str:
    words = [f"{name}={_value(value)}" for name, value in settings.items()]
    return f"python -m {module} " + " ".join(map(shlex.quote, words))


def _value(value: Any) -> str:
    """Return a value in Hydra's grammar."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    text = str(value)
    if isinstance(value, str) and (not _PLAIN.fullmatch(text) or _TYPED.fullmatch(text)):
        escaped = text.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return text
