"""Every error a user can cause, as one sentence that says what must hold and what to do.

    PedroBenchError
    ├── ConfigError      a setting is wrong; also a ValueError          exit code 2
    ├── DataError        a data file, row or split is wrong             exit code 2
    ├── BackboneError    a backbone is missing, gated or unsuitable     exit code 2
    ├── RecordError      a record or results folder is wrong            exit code 2
    │   ├── DamagedRecordError   a record is cut short or was changed
    │   └── DamagedPackError     a packed suite's file cannot be read
    ├── InjectionError   a method cannot be attached to a backbone      exit code 2
    ├── ContextError     an adapted model is used in a way that would be wrong
    ├── TrainingError    a run broke down while running                 exit code 1
    │   └── DivergenceError      its loss or gradient is not finite, or its loss exploded
    ├── JudgingError     a judge model could not be asked to the end    exit code 1
    └── UploadError      the Hub did not take an export                 exit code 1

The form of a message: `<full key or place> must <rule>, got <value>`, then the near match, the known
names and the remedy where they help.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

NOT_NUMBERS = (
    "take backbone.dtype=bfloat16 or float32 where it is float16, whose numbers end at 65,504, else an "
    "adapter whose weights are finite"
)
"""The remedy where an adapted model's outputs are infinite or not a number."""


class PedroBenchError(Exception):
    """Root of all errors a user can cause; `str()` of it is the sentence to show."""

    exit_code: int = 2


class ConfigError(PedroBenchError, ValueError):
    """A setting has an unknown name or a value outside its range."""


class DataError(PedroBenchError, ValueError):
    """A data file, a row or a split is not what the task needs."""


class BackboneError(PedroBenchError):
    """A backbone cannot be found, loaded or used."""


class RecordError(PedroBenchError):
    """A record cannot be read or written, or lacks a field."""


class DamagedRecordError(RecordError):
    """A record is not what was written: cut short, or changed by another tool."""


class DamagedPackError(RecordError):
    """A packed suite's file is there and cannot be read."""


class InjectionError(PedroBenchError):
    """A method asks a backbone for something it does not have."""


class ContextError(PedroBenchError):
    """A forward pass would give a wrong result, so it is refused."""


class TrainingError(PedroBenchError):
    """A run broke down while running."""

    exit_code = 1


class DivergenceError(TrainingError):
    """A loss or gradient is not finite, or a loss exploded; all processes see it at the same step."""


class JudgingError(PedroBenchError):
    """A judge model could not be asked to the end; what it said so far is kept."""

    exit_code = 1


class UploadError(PedroBenchError):
    """The Hub did not take an export, which lies whole where it was written."""

    exit_code = 1


def nearest(given: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for an unknown name, nothing where none is near."""
    return _did_you_mean(_near(given, known))


def near_match(given: str, known: Iterable[str], inner: Iterable[str] = ()) -> str:
    """Return ` Did you mean 'x'? Known: a, b.` for an unknown name (no near match: known names only).

    Args:
        given: The unknown name.
        known: The names that are known in its place.
        inner: Dotted names below those, such as `trainer.lr`, found by their last part and not listed.
    """
    names = sorted(known)
    below: dict[str, list[str]] = {}
    for path in sorted(set(inner)):
        below.setdefault(path.rpartition(".")[2], []).append(path)
    close = _near(given, names)
    for name in _near(given, below, cutoff=0.75):
        close += below[name]
    return f"{_did_you_mean(close)} Known: {', '.join(names) or 'none'}."


def near_folder(given: str, names: Iterable[str]) -> str:
    """Return what `near_match` does, of folders on the disk: hidden ones are left out, three are listed."""
    known = sorted(name for name in names if not name.startswith("."))
    return f"{nearest(given, known)} Known: {some_of(known) or 'none'}."


def _near(given: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """Return the nearest known name, if one is as near as `cutoff`, from 0 to 1 for the same."""
    return difflib.get_close_matches(str(given), sorted(known), n=1, cutoff=cutoff)


def _did_you_mean(names: Sequence[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""


_SHOWN = 3


def some_of(names: Iterable[str]) -> str:
    """Return the first names in their order, and how many there are if these are not all."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:_SHOWN])
    return shown if len(ordered) <= _SHOWN else f"{shown} and {len(ordered) - _SHOWN} more"


def reason(error: BaseException) -> str:
    """Return why something failed on one line; of the system's errors without number and path."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return re.sub(r" \(os error \d+\)$", "", " ".join(text.split()))  # those of libraries in Rust


def sentence(error: BaseException) -> str:
    """Return an error's text on one line; that of an unexpected one with its kind."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PedroBenchError) else f"{type(error).__name__}: {text}"
