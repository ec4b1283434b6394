"""Options: the folder conf/ is its own registry, so what can be chosen is found by listing it.

`conf/<group>/<option>.yaml` is `<group>=<option>` on the command line. `--config-dir DIR` adds a folder
of the same form from elsewhere, and its modules can be imported: `DIR/method/toy.yaml` may name
`toy.Toy` of `DIR/toy.py`.
"""

import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import pedro_bench
from pedro_bench.errors import ConfigError, near_match

CONFIG_DIR = "--config-dir"
RATES = "rates"
"""Folder of the tables that `trainer.rates` names; no group of its own."""

_PLACES = {
    "backbone": " Another model's folder or Hub id is given as backbone=causal_lm backbone.path=….",
    "data": " A folder of data files is given as data=files data.root=DIR.",
}
"""What a group's own key takes in place of a path as the option."""

_outside: ContextVar[tuple[Path, ...]] = ContextVar("outside", default=())


def conf_folder() -> Path:
    """Return the package's own folder of configurations: in the package, or beside it in the repository.

    Raises:
        ConfigError: If neither exists.
    """
    package = Path(pedro_bench.__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"the folder conf/ must lie in or beside {package}, got neither: install the package again."
    )


def conf_folders() -> tuple[Path, ...]:
    """Return all folders of configurations, the package's own first."""
    return (conf_folder(), *_outside.get())


def outside_flags() -> list[str]:
    """Return the flags that name the folders from elsewhere, for a command that is written down."""
    here = Path.cwd()
    shown = (
        folder.relative_to(here) if folder.is_relative_to(here) else folder
        for folder in _outside.get()
    )
    return [f"{CONFIG_DIR}={folder}" for folder in shown]


@contextmanager
def outside_options(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Add the folders that `--config-dir` names for the time of a `with` block.

    Args:
        arguments: A command line; `--config-dir DIR` and `--config-dir=DIR` may stand anywhere in it.

    Yields:
        The other arguments.

    Raises:
        ConfigError: If a folder is missing, has no options, or has one of a name that is taken.
    """
    others, folders = _without_folders(arguments)
    added: list[str] = []
    token = _outside.set(_outside.get())
    try:
        for folder in folders:
            _check_outside(folder)
            if make_importable(folder):
                added.append(str(folder))
            _outside.set((*_outside.get(), folder))
        yield others
    finally:
        _outside.reset(token)
        for place in added:
            sys.path.remove(place)


def make_importable(folder: Path) -> bool:
    """Let a folder's modules be imported, after all that is installed; return whether that was new."""
    is_new = str(folder) not in sys.path
    if is_new:
        sys.path.append(str(folder))
    return is_new


def groups() -> tuple[str, ...]:
    """Return the groups that have a folder of options, in order of their names."""
    own = {path.name for path in conf_folder().iterdir() if path.is_dir()}
    found = own.union(*(_groups_in(folder) for folder in _outside.get()))
    return tuple(sorted(found - {RATES}))


def options(group: str) -> tuple[str, ...]:
    """Return the options of a group, in order of their names; nested ones as `folder/option`."""
    return tuple(
        sorted(option for folder in conf_folders() for option in _options_in(folder, group))
    )


def check_option(group: str, option: object) -> None:
    """Require an option that exists.

    Raises:
        ConfigError: If it does not; with the near match and the known options.
    """
    known = options(group)
    if option not in known:
        shown = near_match(str(option), known)
        own = f" One of your own comes with {CONFIG_DIR} DIR, DIR/{group}/<name>.yaml."
        place = _PLACES.get(group, "")
        raise ConfigError(
            f"{group} must be one of the known options, got {option!r}.{shown}{place}{own}"
        )


def suggest_override(word: str) -> str:
    """Return ` Did you mean method=pedro?` for a word that names an option, else nothing."""
    for group in groups():
        close = difflib.get_close_matches(word, options(group), n=1, cutoff=0.8)
        if close:
            return f" Did you mean {group}={close[0]}?"
    return ""


def _options_in(folder: Path, group: str) -> set[str]:
    place = folder / group
    return {str(path.relative_to(place).with_suffix("")) for path in place.rglob("*.yaml")}


def _groups_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.yaml"))}


def _without_folders(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Take `--config-dir DIR` and `--config-dir=DIR` out of the arguments."""
    others: list[str] = []
    folders: list[Path] = []
    rest = iter(arguments)
    for argument in rest:
        name, sign, value = argument.partition("=")
        if name != CONFIG_DIR:
            others.append(argument)
            continue
        value = value if sign else next(rest, "")
        if not value:
            raise ConfigError(f"{CONFIG_DIR} must be followed by a folder, got nothing.")
        folders.append(Path(value).expanduser().resolve())
    return others, folders


def _check_outside(folder: Path) -> None:
    """Require a folder with options, none of them named like one that is there already."""
    if not folder.is_dir():
        raise ConfigError(
            f"{CONFIG_DIR} must be a folder, got {str(folder)!r}, where there is none."
        )
    found = _groups_in(folder)
    if not found:
        raise ConfigError(
            f"{CONFIG_DIR} must hold options such as method/<name>.yaml, got none in "
            f"{str(folder)!r}: a folder like conf/ is meant."
        )
    for group in sorted(found):
        for option in sorted(filter(_is_read_as_value, _options_in(folder, group))):
            raise ConfigError(
                f"an option must have a name that is read as text, got {group}/{option}.yaml in "
                f"{str(folder)!r}, since {group}={option} is read as a value: rename it."
            )
        for option in sorted(_options_in(folder, group) & set(options(group))):
            raise ConfigError(
                f"{group}={option} must be one file, got another in {str(folder)!r}: give that one "
                "a name of its own."
            )


def _is_read_as_value(option: str) -> bool:
    """Whether Hydra reads a word on the command line as a number, a boolean or null."""
    try:
        float(option)
    except ValueError:
        return option.lower() in ("true", "false", "null")
    return True


_HEAD = """\
Trains a method on a task, evaluates it, and leaves one record for each seed.

  python -m pedro_bench [group=option ...] [key=value ...]
  python -m pedro_bench -m method=pedro,lora task=boolq,sst2    every combination
"""

_KEYS = """\
Keys:
  seeds=[0,1,2,3,4]     one record each; the tables show the median
  suite=main            folder under results_dir/runs that the records go to
  results_dir=results   records, predictions and tables
  output_dir=outputs    working files: checkpoints, best adapters
  output=text|json      a table for people, or one JSON object on standard output
  rerun=false           true trains finished runs again
  retry=false           true runs failed and interrupted runs only
  fail_fast=false       true stops at the first failed run; else the others go on
  keep_checkpoints=false  of a finished run; its best adapter always stays
  workers=auto          processes that train side by side; auto: one a core, where a run takes one thread
  lease_seconds=120     a worker without a sign of life for so long gives its run to another
  meeting_seconds=60    processes of one accelerate launch wait so long for each other at the start
  device=auto           auto, cpu, cuda or cuda:N
  <group>.<key>=value   any setting of a group, such as method.r=6 or trainer.max_steps=100
  <group>.<key>={a: 1}  entries that a mapping of the option gets as well; ~<group>.<key>.a removes one
  method.budget=8.9e6   the size (such as method.r) that trains nearest to so many matrix entries

Flags:
  -m, --multirun        sweep over comma-separated values; finished runs are skipped
  --config-dir DIR      options and modules of your own: DIR/method/<name>.yaml, DIR/<name>.py
  --cfg [job]           print the configuration, with -m that of each job, and stop
  --version             print the version and stop
  -h, --help            print this and stop

Examples:
  python -m pedro_bench method=pedro task=boolq
  python -m pedro_bench method=lora method.r=8 task=squad 'seeds=[0]' output=json
  python -m pedro_bench method=pedro task=sst2 data=files data.root=DIR
  python -m pedro_bench -m method=pedro method.r=3,6,12,24
  python -m pedro_bench -m +experiment=micro_table4

Other commands (each as python -m pedro_bench.cli.<name>):
  efficiency  speed and memory of generation, method against method
  export      a finished run for peft, Transformers or pedro_bench.load
  figures     training curves, scores by parameters, learned activations
  inspect     what the model sees: splits, an example, token lengths
  instruct    MMLU, BBH, MT-Bench, AlpacaEval or the leaderboard of an instruction-tuned run
  pack        a finished suite's records and predictions as two Parquet files
  params      parameters of every method on a backbone; budget=8.9e6 sizes each
  plan        what a grid holds, and what time and memory it will take
  score       scores predictions of any system
  tables      tables from records
  tune        each method's learning rate, from dev data

Exit codes: 0 done, 1 a run failed, 2 bad input."""


def help_text() -> str:
    """Return the help of `python -m pedro_bench`."""
    width = max((len(group) for group in groups()), default=0)
    lines = [f"  {group:<{width}}  {' '.join(options(group))}" for group in groups()]
    weights = [f"  {origin}\n    {' '.join(names)}" for origin, names in _weights().items()]
    return "\n".join(
        [
            *(_HEAD, "Groups and their options:", *lines, ""),
            *("Where the weights of a backbone come from:", *weights, ""),
            _KEYS,
        ]
    )


def _weights() -> dict[str, list[str]]:
    from pedro_bench.cli.hydra.option_files import backbones_by_origin

    return backbones_by_origin()
