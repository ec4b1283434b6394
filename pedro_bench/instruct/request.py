"""Request: one evaluation of one run as typed, checked before anything heavy is imported."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pedro_bench import checks, records
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.instruct.leaderboard import LEADERBOARD
from pedro_bench.protocols.settings import check_device

SUITES = ("mmlu", "bbh", "mt_bench", "alpaca_eval", *LEADERBOARD)
"""MT-Bench and AlpacaEval go through a judge model, all others through lm-evaluation-harness."""

JUDGED = ("mt_bench", "alpaca_eval")
FILES_ONLY = ("alpaca_eval",)
"""Suites whose Hub data set is a loading script, which `datasets` no longer runs."""

HUB = {
    "mmlu": ("cais/mmlu", "c30699e8356da336a370243923dbaf21066bb9fe"),
    "bbh": ("SaylorTwift/bbh", "b5306be6f827cfafbb545ff5a51f96916029b0fd"),
    "mt_bench": ("HuggingFaceH4/mt_bench_prompts", None),
    **{suite: (one.hub_id, one.revision) for suite, one in LEADERBOARD.items()},
}
"""Data set of each suite on the Hub, the harness's own, and its pinned revision."""

_COMMIT_LENGTH = 40


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How the judge model is asked; where it is and its key come from the environment alone.

    Attributes:
        model: Name of the model at the endpoint.
        temperature: Sampling temperature, 0 or more; None leaves it out of the request.
        max_tokens: Longest judgement in tokens; None leaves it out of the request.
        max_requests: Most requests of this evaluation, repeated ones and those before an
            interruption included.
        concurrency: Requests under way at once.
        attempts: Tries of one judgement when the endpoint is busy, broken or silent.
        timeout_seconds: Longest wait for one whole answer.
        backoff_seconds: Wait before the second try; doubles with each further one.
    """

    model: str
    temperature: float | None = 0.0
    max_tokens: int | None = 2048
    max_requests: int = 500
    concurrency: int = 4
    attempts: int = 6
    timeout_seconds: float = 120.0
    backoff_seconds: float = 1.0

    def __post_init__(self) -> None:
        checks.text("judge.model", self.model)
        checks.number("judge.temperature", self.temperature, least=0, most=2, optional=True)
        checks.integer("judge.max_tokens", self.max_tokens, optional=True)
        for key in ("max_requests", "concurrency", "attempts"):
            checks.integer(f"judge.{key}", getattr(self, key))
        checks.number("judge.timeout_seconds", self.timeout_seconds, above=0)
        checks.number("judge.backoff_seconds", self.backoff_seconds, above=0)

    def moving(self) -> dict[str, Any]:
        """Return the settings that can change a score."""
        kept = ("model", "temperature", "max_tokens")
        return {name: value for name, value in asdict(self).items() if name in kept}


_JUDGE_DEFAULTS = {
    f"judge.{part.name}": None if part.name == "model" else part.default for part in fields(Judge)
}

DEFAULTS: Mapping[str, Any] = {
    "run": None,
    "suite": None,
    "data": "files",
    "data.root": None,
    "data.revision": None,
    "tasks": None,
    "limit": None,
    "max_new_tokens": None,
    "max_length": None,
    "evaluation.num_beams": None,
    "evaluation.batch_size": None,
    **_JUDGE_DEFAULTS,
    "results_dir": None,
    "output_dir": "outputs",
    "output": "text",
    "rerun": False,
    "device": "auto",
}
"""Every key of `cli.instruct` with its default."""

_NUMBERS = (
    "limit",
    "max_new_tokens",
    "max_length",
    "evaluation.num_beams",
    "evaluation.batch_size",
)
_NOT_WITH = {
    "mmlu": ("evaluation.num_beams", "max_new_tokens", *_JUDGE_DEFAULTS),
    "bbh": tuple(_JUDGE_DEFAULTS),
    "mt_bench": ("tasks",),
    "alpaca_eval": ("tasks",),
}
for _suite, _benchmark in LEADERBOARD.items():
    _of_texts = () if _benchmark.is_generated else ("evaluation.num_beams", "max_new_tokens")
    _NOT_WITH[_suite] = ("tasks", *_of_texts, *_JUDGE_DEFAULTS)
_NOT_WITH_DATA = {"files": "data.revision", "hub": "data.root"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One evaluation of one run.

    Attributes:
        run: Path of the run's record, or of its folder of working files.
        suite: One of SUITES.
        root: Folder that holds `<suite>/`, with `data=files`; None with `data=hub`.
        revision: The Hub data set's commit, with `data=hub`; None with `data=files`.
        tasks: Names of tasks to evaluate; None for all of the suite.
        limit: First rows of each task (questions with MT-Bench) to evaluate; None for all.
        num_beams: Beams of generated text; None: 1 with BBH and GSM8K, the run's where answers are judged.
        max_new_tokens: Longest generated text; None: the harness's with BBH and GSM8K, 1024 where answers
            are judged.
        max_length: Most tokens of prompt and answer; None: the backbone's positions.
        batch_size: Prompts in one pass; None: the run's `evaluation.batch_size`.
        judge: The judge of a suite in JUDGED, else None.
        results_dir: Root of the records.
        output_dir: Root of working files.
        rerun: Whether a finished evaluation is made again.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """

    run: str
    suite: str
    root: str | None
    revision: str | None
    tasks: tuple[str, ...] | None
    limit: int | None
    num_beams: int | None
    max_new_tokens: int | None
    max_length: int | None
    batch_size: int | None
    judge: Judge | None
    results_dir: str
    output_dir: str
    rerun: bool
    device: str

    def __post_init__(self) -> None:
        for key in _NUMBERS:
            checks.integer(key, getattr(self, key.rpartition(".")[2]), optional=True)
        checks.text("results_dir", self.results_dir)
        checks.text("output_dir", self.output_dir)
        checks.flag("rerun", self.rerun)
        check_device(self.device)


def request_of(values: Mapping[str, Any]) -> Request:
    """Build a request from the keys of DEFAULTS.

    Raises:
        ConfigError: If a value is wrong, or a key has no meaning in this suite.
    """
    if not isinstance(values["run"], str):
        raise ConfigError(
            f"run must be the record of a finished run, got {values['run']!r}: give "
            "run=results/runs/<suite>/<record>.json."
        )
    checks.choice("suite", values["suite"], SUITES)
    checks.choice("data", values["data"], tuple(_NOT_WITH_DATA))
    suite = str(values["suite"])
    _refuse(values, _NOT_WITH[suite], f"suite={suite}")
    _refuse(values, (_NOT_WITH_DATA[values["data"]],), f"data={values['data']}")
    root, revision = _source(values, suite)
    return Request(
        run=values["run"],
        suite=suite,
        root=root,
        revision=revision,
        tasks=_names(values["tasks"]),
        judge=_judge(values) if suite in JUDGED else None,
        **{key.rpartition(".")[2]: values[key] for key in _NUMBERS},
        results_dir=_results_of(values["run"])
        if values["results_dir"] is None
        else values["results_dir"],
        **{key: values[key] for key in ("output_dir", "rerun", "device")},
    )


def _results_of(run: str) -> str:
    """Return the results folder that holds a run's record; `results` for a folder of working files."""
    return str(records.results_folder(run) or "results")


def fingerprint(request: Request, files: Sequence[Path]) -> str:
    """Return what identifies the rows: a hash of the files, or the Hub's revision.

    Raises:
        DataError: If a file cannot be read.
    """
    if request.root is None:
        return f"hub:{HUB[request.suite][0]}:{request.revision}"
    digest = hashlib.sha256()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} must be readable, got {error.strerror or error}.") from None
        name = path.relative_to(Path(request.root).expanduser()).as_posix()
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return f"files:{digest.hexdigest()}"


def source_of(found: str) -> dict[str, str]:
    """Return the settings with which rows of a `fingerprint` are read; of files, DIR is their folder."""
    source, _, place = found.partition(":")
    if source == "hub":
        return {"data": "hub", "data.revision": place.rpartition(":")[2]}
    return {"data.root": "DIR"} if source == "files" else {}


def _refuse(values: Mapping[str, Any], keys: tuple[str, ...], place: str) -> None:
    for key in keys:
        if values[key] != DEFAULTS[key]:
            raise ConfigError(
                f"{key} must be left out with {place}, where it means nothing, got {values[key]!r}."
            )


def _source(values: Mapping[str, Any], suite: str) -> tuple[str | None, str | None]:
    """Return (root, None) with `data=files`, (None, revision) with `data=hub`."""
    if values["data"] == "files":
        if not isinstance(values["data.root"], str):
            raise ConfigError(
                f"data.root must be the folder that holds {suite}/, got {values['data.root']!r}: "
                "give data.root=DIR, or data=hub."
            )
        return values["data.root"], None
    if suite in FILES_ONLY:
        raise ConfigError(
            f"data must be files with suite={suite}, whose data set on the Hub is a script that is no "
            "longer run, got 'hub': give data=files data.root=DIR."
        )
    hub_id, pinned = HUB[suite]
    revision = str(values["data.revision"] or pinned or "")
    if len(revision) != _COMMIT_LENGTH or set(revision) - set("0123456789abcdef"):
        raise ConfigError(
            "data.revision must be a full commit (40 hexadecimal digits), got "
            f"{values['data.revision']!r}: give data.revision=<commit of {hub_id}>, since an "
            "unpinned data set may change."
        )
    return None, revision


def _names(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else given
    distinct = isinstance(names, list | tuple) and len(set(map(str, names))) == len(names)
    if not distinct or not names:
        raise ConfigError(f"tasks must list distinct names, at least one, got {given!r}.")
    return tuple(map(str, names))


def _judge(values: Mapping[str, Any]) -> Judge:
    if values["judge.model"] is None:
        raise ConfigError(
            "judge.model must name the judge model at the endpoint, got null: give judge.model=…."
        )
    return Judge(**{key.removeprefix("judge."): values[key] for key in _JUDGE_DEFAULTS})
