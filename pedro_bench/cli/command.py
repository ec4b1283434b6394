"""What commands share: exit codes, one-sentence errors, clean standard output, checks of folders."""

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from pedro_bench import records
from pedro_bench.cli.options import outside_options
from pedro_bench.errors import ConfigError, PedroBenchError, near_match, reason, sentence
from pedro_bench.protocols.settings import KNOWN_KEYS, Settings
from pedro_bench.training.interruption import ENDING, Interrupted, taken_by

DONE, RUN_FAILED, BAD_INPUT = 0, 1, 2
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_EVERY_COMMANDS = (
    "--config-dir DIR adds options and modules of your own: DIR/method/<name>.yaml, DIR/<name>.py"
)
"""Stands below the help of each command."""

_GOES_ON = "the same command goes on where this one stopped."
_BEGINS_ANEW = (
    "with rerun=true the same command begins anew; without it what was begun and not ended goes on."
)


def guarded(
    body: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    usage: str | None = None,
    *,
    rerun_goes_on: bool = False,
) -> int:
    """Run a command's body; what a user can cause becomes one sentence on standard error.

    `--config-dir DIR` is every command's: its options hold while the body runs.

    Args:
        body: Takes the other arguments, returns the exit code.
        arguments: The command line without the program's name.
        usage: What `--help` prints, the module's docstring; None where the body does so itself.
        rerun_goes_on: Whether the same command goes on after an interrupt with `rerun=true` too.
    """
    if usage is not None and {"-h", "--help"} & set(arguments):
        print(f"{usage.strip()}\n\n{_EVERY_COMMANDS}")
        return DONE
    # Idle threads of torch sleep instead of spinning: next to other work spinning ones cost several times
    # the speed. It counts only before torch is imported, and a value from outside wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with ends_on_signals(), outside_options(arguments) as others:
            return body(others)
    except PedroBenchError as error:
        sys.stderr.write(f"error: {sentence(error)}\n")
        return error.exit_code
    except KeyboardInterrupt as error:
        begins_anew = "rerun=true" in arguments and not rerun_goes_on
        sys.stderr.write(f"interrupted: {_BEGINS_ANEW if begins_anew else _GOES_ON}\n")
        return error.exit_code if isinstance(error, Interrupted) else INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


@contextlib.contextmanager
def ends_on_signals() -> Iterator[None]:
    """Let SIGTERM and its like end the body as Ctrl-C does, so that it leaves nothing half-done."""

    def leave(number: int, _: FrameType | None) -> None:
        raise Interrupted(f"{signal.Signals(number).name} came.", 128 + number)

    with taken_by(leave, *ENDING):
        yield


def logs_to_stderr() -> contextlib.AbstractContextManager[Any]:
    """Send what libraries print to standard error, so that standard output holds results only."""
    return contextlib.redirect_stdout(sys.stderr)


def split_flags(arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the arguments without flags.

    Raises:
        ConfigError: If a flag is not a known one.
    """
    for argument in arguments:
        if argument.startswith("-"):
            check_flag(argument, known)
    return [argument for argument in arguments if not argument.startswith("-")]


def check_flag(flag: str, known: Sequence[str]) -> None:
    """Require a known flag.

    Raises:
        ConfigError: If it is none; one that is a setting's name is shown as a setting.
    """
    if flag in known:
        return
    name, sign, value = flag.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if sign or name in KNOWN_KEYS:
        raise ConfigError(
            f"a flag must be a known one, got {flag!r}: a setting has no dashes, write "
            f"{name}={value or '…'}. Known: {', '.join(sorted(known))}."
        )
    raise ConfigError(
        f"a flag must be a known one, got {flag!r}.{near_match(flag, known)} A setting has no dashes, as "
        "in method=pedro or trainer.lr=1e-3."
    )


def print_json(content: Any) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def check_output(value: Any) -> None:
    """Require `output` to be text or json.

    Raises:
        ConfigError: If it is neither.
    """
    if value not in ("text", "json"):
        raise ConfigError(f"output must be text or json, got {value!r}.")


def check_folders(settings: Settings) -> None:
    """Require folders of results and working files that can be written or created, and the suite's in them.

    Raises:
        ConfigError: If one cannot, or a file lies there.
    """
    results, outputs = Path(settings.results_dir), Path(settings.output_dir)
    for key, folder, below in (
        ("results_dir", results, records.suite_folder(results, settings.suite)),
        ("output_dir", outputs, outputs / settings.suite),
    ):
        check_folder(key, folder)
        _nearest(key, folder, below)


def check_folder(key: str, folder: str | Path) -> None:
    """Require a folder that can be written, or created; of records one that holds `runs`, not lies in it.

    Raises:
        ConfigError: If it is not.
    """
    nearest = _nearest(key, folder, folder)
    rule = f"{key} must be a folder that can be written, got {str(folder)!r}"
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{rule}: {str(nearest)!r} is read-only for you, choose another with {key}=…."
        )
    try:
        tempfile.TemporaryFile(dir=nearest).close()  # rights say nothing of a place such as /proc
    except OSError as error:
        raise ConfigError(
            f"{rule}: {str(nearest)!r} takes no file ({reason(error)}), choose another with {key}=…."
        ) from error
    above = records.folder_above(folder) if key == "results_dir" else None
    if above is not None:
        raise ConfigError(
            f"{key} must be the folder that holds runs, got {str(folder)!r}, which lies in it: set "
            f"{key}={above}."
        )


def _nearest(key: str, folder: str | Path, place: str | Path) -> Path:
    """Return the nearest folder that exists, of a place in the folder that a key names, or above it.

    Raises:
        ConfigError: If it is a file.
    """
    nearest = Path(place).absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(
            f"{key} must be a folder, got {str(folder)!r}, where {str(nearest)!r} is a file."
        )
    return nearest
