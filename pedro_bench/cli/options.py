"""Options: the folder conf/ is its own registry, so what can be chosen is found by listing it.

`conf/<group>/<option>.yaml` is `<group>=<option>` on the command line.
"""

import difflib
from pathlib import Path

import pedro_bench
from pedro_bench.errors import ConfigError, near_match


def conf_folder() -> Path:
    """Return the folder of configurations: in the package, or beside it in the repository.

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


def groups() -> tuple[str, ...]:
    """Return the groups that have a folder of options, in order of their names."""
    return tuple(sorted(path.name for path in conf_folder().iterdir() if path.is_dir()))


def options(group: str) -> tuple[str, ...]:
    """Return the options of a group, in order of their names; nested ones as `folder/option`."""
    folder = conf_folder() / group
    return tuple(
        sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
    )


def check_option(group: str, option: object) -> None:
    """Require an option that exists.

    Raises:
        ConfigError: If it does not; with the near match and the known options.
    """
    known = options(group)
    if option not in known:
        shown = near_match(str(option), known)
        raise ConfigError(f"{group} must be one of the known options, got {option!r}.{shown}")


def suggest_override(word: str) -> str:
    """Return ` Did you mean method=pedro?` for a word that names an option, else nothing."""
    for group in groups():
        close = difflib.get_close_matches(word, options(group), n=1, cutoff=0.8)
        if close:
            return f" Did you mean {group}={close[0]}?"
    return ""
