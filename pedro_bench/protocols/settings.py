"""Settings: one configuration, checked and built; what the command line hands to an experiment.

A configuration is a nested mapping whose groups name a frozen dataclass by `_target_`.
`build_settings` turns it into objects and completes it with the dataclasses' defaults, so that
what is recorded says everything; the same function rebuilds the objects from a record. Nothing
here imports torch.
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from pedro_bench import checks
from pedro_bench.distributed import MEETING_SECONDS
from pedro_bench.errors import ConfigError, PedroBenchError, near_match, sentence
from pedro_bench.protocols.backbone import Backbone, BackboneShape
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.task import Task
from pedro_bench.records import check_name

if TYPE_CHECKING:
    from pedro_bench.protocols.task import DataSource

GROUPS = ("method", "task", "backbone", "data", "trainer", "evaluation", "tracking")
"""Parts of a configuration that build an object; each is a folder of conf/."""

NAMED = ("method", "task", "backbone", "data")
"""Groups whose names stand in records and tables; in a YAML each is the name of the file."""

ROOT_KEYS = ("seeds", "suite", "results_dir", "output_dir", "output", "rerun", "device")
"""Parts of a configuration that are plain values."""

WORK_KEYS: Mapping[str, Any] = {
    "retry": False,
    "fail_fast": False,
    "keep_checkpoints": False,
    "lease_seconds": 120,
    "meeting_seconds": MEETING_SECONDS,
    "workers": "auto",
}
"""Plain values that only say how runs are worked off: no part of what is recorded. With defaults."""

KNOWN_KEYS = (*GROUPS, *ROOT_KEYS, *WORK_KEYS)
"""All keys at the root of a configuration."""

SHORTEST_LEASE = 3
"""Seconds; a holder shows six times within a lease that it lives."""

OUTPUTS = ("text", "json")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One configuration, built.

    Attributes:
        method: The technique to train.
        task: The task to train and score it on.
        backbone: The model it adapts.
        data: Where rows come from.
        trainer: The protocol of training.
        evaluation: How the test set is predicted.
        tracking: Where curves go.
        seeds: Distinct seeds, one run each.
        suite: Folder of the records.
        results_dir: Root of records, predictions and tables.
        output_dir: Root of working files.
        output: `text` or `json`.
        rerun: Whether finished keys run again.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        retry: Whether only runs that failed, or were begun and not ended, are due.
        fail_fast: Whether the first failed run ends the command.
        keep_checkpoints: Whether a finished run's checkpoints stay beside its adapter.
        lease_seconds: How long a worker may show no sign of life before another takes its run.
        meeting_seconds: How long processes of one launcher wait for each other at the start.
        workers: How many processes train side by side, or `auto` for as many as cores and memory take.
        resolved_config: All settings but WORK_KEYS as plain JSON types, with defaults, for `build_settings`.
    """

    method: Method
    task: Task
    backbone: Backbone
    data: "DataSource"
    trainer: Any
    evaluation: Any
    tracking: Any
    seeds: tuple[int, ...]
    suite: str
    results_dir: str
    output_dir: str
    output: str
    rerun: bool
    device: str
    retry: bool
    fail_fast: bool
    keep_checkpoints: bool
    lease_seconds: float
    meeting_seconds: float
    workers: int | str
    resolved_config: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_name("suite", self.suite)
        for group in NAMED:
            check_name(f"{group}.name", getattr(self, group).name)
        checks.choice("output", self.output, OUTPUTS)
        for key in ("rerun", "retry", "fail_fast", "keep_checkpoints"):
            checks.flag(key, getattr(self, key))
        checks.number("lease_seconds", self.lease_seconds, least=SHORTEST_LEASE)
        checks.number("meeting_seconds", self.meeting_seconds, above=0, most=86400)
        if self.workers != "auto" and (type(self.workers) is not int or self.workers < 1):
            raise ConfigError(
                f"workers must be auto or a whole number of at least 1, got {self.workers!r}."
            )
        if self.rerun and self.retry:
            raise ConfigError(
                "rerun must be false with retry=true, got true: finished runs or failed ones are meant."
            )
        if self.evaluation.ranks and not self.task.is_closed:
            raise ConfigError(
                f"evaluation must be generation for task {self.task.name!r}, got "
                f"{self.evaluation.name!r}: only closed sets of answers can be ranked."
            )
        _check_seeds(self.seeds)
        check_device(self.device)

    def check_room(self) -> None:
        """Require positions for prompt and answer beside the method's own tokens; as `max_tokens`."""
        tokens_left(self.trainer.max_length, self.method, self.backbone.shape())

    @property
    def max_tokens(self) -> int:
        """Most tokens of prompt and answer together; see `tokens_left`.

        Raises:
            BackboneError: If the backbone's configuration cannot be found.
            ConfigError: If the method leaves none.
        """
        return tokens_left(self.trainer.max_length, self.method, self.backbone.shape())


def tokens_left(
    max_length: int, method: Method, shape: BackboneShape, key: str = "trainer.max_length"
) -> int:
    """Return how many tokens of a sequence a method leaves for prompt and answer.

    A sequence has `max_length` positions, or all of the backbone's where these are fewer.

    Args:
        max_length: Most positions of a whole sequence.
        method: The method that takes some of them.
        shape: The backbone's sizes.
        key: Where `max_length` was set, for messages.

    Raises:
        ConfigError: If it leaves none.
    """
    positions = shape.max_positions
    is_short = positions is not None and positions < max_length
    left = (positions if positions is not None and is_short else max_length) - method.num_positions
    if left < 1 and is_short:
        raise ConfigError(
            f"method {method.name!r} must take fewer than the backbone's {positions} positions for "
            f"itself, got {method.num_positions}: set fewer virtual tokens, or choose a backbone "
            "with more positions."
        )
    if left < 1:
        raise ConfigError(
            f"{key} must be above the {method.num_positions} positions that method "
            f"{method.name!r} takes for itself, got {max_length}."
        )
    return left


def build_settings(config: Mapping[str, Any]) -> Settings:
    """Build every group of a configuration and check its root keys.

    Args:
        config: Plain mapping with exactly GROUPS and ROOT_KEYS, and any of WORK_KEYS; `seeds` may be
            a single number.

    Raises:
        ConfigError: If a key is unknown or missing, or a value is outside its range.
    """
    for key in config:
        if key not in KNOWN_KEYS:
            hint = near_match(key, KNOWN_KEYS, _inner_keys(config))
            raise ConfigError(f"{key} must be a known key, got {key!r}.{hint}")
    for key in (*GROUPS, *ROOT_KEYS):
        if key not in config:
            raise ConfigError(f"{key} must be given, got nothing.")
    built = {group: build_group(group, config[group]) for group in GROUPS}
    values = {key: config[key] for key in ROOT_KEYS}
    seeds = values["seeds"]
    for key in ("results_dir", "output_dir"):
        values[key] = checks.path(key, values[key])
    values["seeds"] = tuple(seeds) if isinstance(seeds, list | tuple) else (seeds,)
    resolved = {group: describe(instance) for group, instance in built.items()}
    resolved |= values | {"seeds": list(values["seeds"])}
    work = {key: config.get(key, default) for key, default in WORK_KEYS.items()}
    return Settings(**built, **values, **work, resolved_config=resolved)


def _inner_keys(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of the groups, such as `trainer.lr`, for whoever leaves the group out."""
    groups = ((group, config.get(group)) for group in GROUPS)
    return [
        f"{group}.{name}"
        for group, content in groups
        if isinstance(content, Mapping)
        for name in content
        if name != "_target_"
    ]


def recorded_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved configuration without what only says where and how it was called."""
    left_out = ("output", "rerun", "seeds")
    return {name: value for name, value in config.items() if name not in left_out}


def build_group(key: str, config: Any) -> Any:
    """Build the dataclass that `config["_target_"]` names; nested ones likewise.

    Args:
        key: Where the group stands, such as `method`, for messages.
        config: The group's mapping; lists become tuples.

    Raises:
        ConfigError: If a key is unknown or missing, or the dataclass refuses a value.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise ConfigError(f"{key} must be a group with a _target_, got {config!r}.")
    target = _target(key, config["_target_"])
    names = [part.name for part in fields(target) if part.init]
    given = {name: value for name, value in config.items() if name != "_target_"}
    for name in given:
        if name not in names:
            raise ConfigError(
                f"{key}.{name} must be a known key, got {name!r}.{near_match(str(name), names)}"
            )
    for part in fields(target):
        required = part.init and part.default is MISSING and part.default_factory is MISSING
        if required and part.name not in given:
            raise ConfigError(
                f"{key}.{part.name} must be given, got nothing: add {key}.{part.name}=… to the "
                "command."
            )
    arguments = {name: _value(f"{key}.{name}", value) for name, value in given.items()}
    try:
        return target(**arguments)
    except PedroBenchError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{key} must have values of the right type, got {given!r}: {error}."
        ) from error


def describe(value: Any) -> Any:
    """Return the plain JSON form of a built object; `build_group` takes it back."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        names = [part.name for part in fields(value) if part.init]
        own = {name: describe(getattr(value, name)) for name in names}
        return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **own}
    if isinstance(value, Mapping):
        return {str(name): describe(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return value


def _value(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build_group(key, value)
        return {name: _value(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_value(f"{key}.{index}", item) for index, item in enumerate(value))
    return value


def _target(key: str, path: Any) -> Any:
    """Import the frozen dataclass at a dotted path.

    Raises:
        ConfigError: If there is none, or its module, which may be anybody's, cannot be imported.
    """
    module, _, name = str(path).rpartition(".")
    if not module:
        raise ConfigError(
            f"{key}._target_ must name a class with its module, such as toy.Toy, got {path!r}."
        )
    try:
        target = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        file = getattr(sys.modules.get(module), "__file__", None)
        where = f" in {file!r}" if isinstance(error, AttributeError) and file else ""
        top = module.partition(".")[0]
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == top
        remedy = f": give the folder of {top}.py with --config-dir, or have it on PYTHONPATH"
        raise ConfigError(
            f"{key}._target_ must name a class that can be imported, got {path!r} ({error}{where})"
            f"{remedy if is_absent else ''}."
        ) from error
    except Exception as error:
        if module.startswith("pedro_bench."):
            raise
        raise ConfigError(
            f"{key}._target_ must name a class of a module that can be imported, got {path!r}, whose module "
            f"ends in {sentence(error)}{_raised_at(error)}: correct the module."
        ) from error
    parameters = getattr(target, "__dataclass_params__", None)
    if not isinstance(target, type) or parameters is None or not parameters.frozen:
        raise ConfigError(f"{key}._target_ must name a frozen dataclass, got {path!r}.")
    lacking = sorted(getattr(target, "__abstractmethods__", ()))
    if lacking:
        raise ConfigError(
            f"{key}._target_ must name a class that defines all of its protocol, got {path!r} without "
            f"{', '.join(lacking)}: add it to the class."
        )
    return target


def _raised_at(error: Exception) -> str:
    """Return file and line that raised an error; of a SyntaxError, whose text has them, nothing."""
    frames = extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"


def _check_seeds(seeds: tuple[Any, ...]) -> None:
    whole = all(type(seed) is int and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) != len(seeds):
        shown = list(seeds) if len(seeds) != 1 else seeds[0]
        raise ConfigError(
            "seeds must be distinct whole numbers of at least 0, such as seeds=[0,1,2] or seeds=3, "
            f"got {shown!r}."
        )


def check_device(device: Any) -> None:
    """Require a name of a device.

    Raises:
        ConfigError: If it is none.
    """
    index = device.removeprefix("cuda:") if isinstance(device, str) else ""
    numbered = isinstance(device, str) and device.startswith("cuda:") and index.isdecimal()
    if device not in ("auto", "cpu", "cuda") and not numbered:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}.")
