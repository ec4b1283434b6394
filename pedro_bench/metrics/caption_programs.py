"""METEOR 1.5 and Stanford's PTB tokenizer: the Java programs of the E2E challenge's script.

The package `pycocoevalcap` (extra `e2e`) brings both as files, the same that the script has; none of
its Python is run. METEOR matches words exactly, by stem, by WordNet's synonyms and by its table of
paraphrases, and gives for each pair of texts what it counted:

    P = Σ over kinds of match wᵢ (δ content words + (1 - δ) function words) / (the same of all words)
    F = P R / (α P + (1 - α) R),  METEOR = F · (1 - γ (chunks / matches)^β)

R is P in the reference's words, w = 1, 0.6, 0.8, 0.6, δ = 0.75, α = 0.85, β = 0.2, γ = 0.6. The counts of
the best reference of each example are summed, and the score is that of the sums; one chunk that is
all of both texts counts as none.
"""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from pedro_bench.errors import ConfigError
from pedro_bench.metrics import versioned

PACKAGE = "pycocoevalcap"
TIME_LIMIT_S = 900
"""For one call of a program; METEOR takes a minute to read its paraphrases on a busy machine."""

_REMEDY = f"Install a Java runtime that works, or uninstall {PACKAGE} to have METEOR (exact, stem)."
_ENCODING = "-Dfile.encoding=UTF-8"
_FILES = (
    "meteor/meteor-1.5.jar",
    "meteor/data/paraphrase-en.gz",
    "tokenizer/stanford-corenlp-3.4.1.jar",
)
_DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = (1.0, 0.6, 0.8, 0.6)
_COUNTS = 23

Words = list[str]


@dataclass(frozen=True)
class Programs:
    """Both programs, ready to run: path and name of the Java, the package's folder and version."""

    java: str
    runtime: str
    folder: Path
    version: str

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Return the words of each text, in lower case, without the punctuation the script drops.

        Raises:
            ConfigError: If the program fails or takes longer than TIME_LIMIT_S.
        """
        arguments = ["-cp", str(self.folder / _FILES[2]), "edu.stanford.nlp.process.PTBTokenizer"]
        lines = _answers(
            "Stanford's PTB tokenizer",
            [self.java, _ENCODING, *arguments, "-preserveLines", "-lowerCase"],
            [" ".join(text.split()) for text in texts],
        )
        return [
            [word for word in line.split(" ") if word and word not in _DROPPED] for line in lines
        ]


@versioned(1)
def meteor_15(
    found: Programs, outputs: Sequence[Words], references: Sequence[Sequence[Words]]
) -> float:
    """Return METEOR 1.5 in percent of the words of outputs against those of their references.

    Raises:
        ConfigError: If the program fails or takes longer than TIME_LIMIT_S.
    """
    name, jar = "METEOR 1.5", str(found.folder / _FILES[0])
    lines = _answers(
        name,
        [found.java, _ENCODING, "-Xmx2G", "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm"],
        [
            " ||| ".join(["SCORE", *map(_written, wanted), _written(given)])
            for given, wanted in zip(outputs, references, strict=True)
        ],
    )
    numbers = []
    for line in lines:
        counts = line.split()
        if not _are_counts(counts):
            raise ConfigError(
                f"{name} must answer with {_COUNTS} counts, got {line[:80]!r}. {_REMEDY}"
            )
        numbers.append(_without_whole(list(map(float, counts))))
    return 100.0 * _score(list(map(math.fsum, zip(*numbers, strict=True))))


def programs() -> Programs | None:
    """Return the programs, or None where Java or the package is not there.

    Raises:
        ConfigError: If both are there and do not work.
    """
    java = shutil.which("java")
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    return (
        _checked(java, Path(str(package.locate_file(PACKAGE))), package.version) if java else None
    )


@lru_cache(maxsize=4)
def _checked(java: str, folder: Path, version: str) -> Programs:
    for name in _FILES:
        if not (folder / name).is_file():
            raise ConfigError(
                f"the package {PACKAGE} must hold {name}, got none in {folder}: install it again."
            )
    found = _run("Java", [java, "-version"], "", 60)
    runtime = re.search(r'version "([^"]+)"', found.stderr + found.stdout)
    return Programs(java, runtime[1] if runtime else "unknown", folder, version)


def _answers(name: str, command: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return the line with which a program answers each line."""
    found = _run(name, command, "".join(f"{line}\n" for line in lines), TIME_LIMIT_S)
    answers = found.stdout.split("\n")
    if len(answers) != len(lines) + 1:
        raise ConfigError(
            f"{name} must answer each of {len(lines)} lines, got {len(answers) - 1} answers"
            f"{_last_words(found.stderr)}. {_REMEDY}"
        )
    return answers[:-1]


def _run(
    name: str, command: Sequence[str], text: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a Java program in a group of its own, and leave no process of it behind."""
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, errors = process.communicate(text, timeout=seconds)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{name} must end within {seconds:g} seconds, got no answer from {command[0]}. {_REMEDY}"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{name} must start, got {error.strerror} from {command[0]}. {_REMEDY}"
        ) from None
    if process.returncode:
        raise ConfigError(
            f"{name} must run, got exit code {process.returncode} from {command[0]}"
            f"{_last_words(errors)}. {_REMEDY}"
        )
    return subprocess.CompletedProcess(list(command), 0, output, errors)


def _last_words(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return f" ({lines[-1][:120]})" if lines else ""


def _written(words: Words) -> str:
    return " ".join(words).replace("|||", "").replace("  ", " ")


def _are_counts(found: Sequence[str]) -> bool:
    return len(found) == _COUNTS and all(re.fullmatch(r"\d+\.\d+(?:E\d+)?", one) for one in found)


def _without_whole(counts: list[float]) -> list[float]:
    """Return the counts of one example with no chunk where one chunk is all of both texts."""
    is_whole = counts[20] == 1 and counts[21:] == counts[:2]
    return [*counts[:20], 0.0, *counts[21:]] if is_whole else counts


def _score(counts: Sequence[float]) -> float:
    """Return METEOR between 0 and 1 of its counts, summed over the corpus.

    Args:
        counts: Words of output and reference; function words among them; for each kind of match the
            content words of both and the function words of both; chunks; matched words of both.
    """
    chunks, *matched = counts[20:]
    weighted = [
        math.fsum(
            weight * _weighed(counts[4 * kind + side], counts[4 * kind + side + 2])
            for kind, weight in enumerate(_WEIGHTS, start=1)
        )
        for side in (0, 1)
    ]
    if not all(weighted):
        return 0.0
    precision, recall = (
        weighted[side] / _weighed(counts[side] - counts[side + 2], counts[side + 2])
        for side in (0, 1)
    )
    mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
    fragments = chunks / (sum(matched) / 2)
    return float(mean * (1 - _GAMMA * fragments**_BETA))


def _weighed(content: float, function: float) -> float:
    return _DELTA * content + (1 - _DELTA) * function
