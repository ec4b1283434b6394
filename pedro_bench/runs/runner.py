"""Run the seeds of one configuration: data and backbone are loaded once, each seed starts clean.

Between two seeds the method is taken out of the backbone again, and the backbone's fingerprint proves
that not a bit of it has changed.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from pedro_bench import files, records
from pedro_bench.data.encoding import Encoding, continuation_ids
from pedro_bench.data.encoding_cache import Limits, encode_cached
from pedro_bench.data.splits import Splits, load_splits, with_fewer_test_rows
from pedro_bench.data.text_pairs import encode_pairs
from pedro_bench.errors import DivergenceError, PedroBenchError, TrainingError
from pedro_bench.evaluation.prediction import predict
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.nn.sharding import shard
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import Settings
from pedro_bench.protocols.task import Task
from pedro_bench.ranks import is_main, is_one_of_several
from pedro_bench.records import RunRecord, Split
from pedro_bench.runs import costs
from pedro_bench.runs.forgetting import PlainText, unchanged
from pedro_bench.runs.identity import (
    begun,
    describe_environment,
    fit_threads,
    now,
    peak_bytes,
    reset_process_peak,
    resolve_device,
    versions,
)
from pedro_bench.runs.phases import Run, Trained, prediction_lines, train_phases
from pedro_bench.runs.processes import num_shares
from pedro_bench.runs.saved import save_adapter
from pedro_bench.training.saved_folder import restart, working_folder

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Prepared:
    """What all seeds of a configuration share; `task` is the settings' for the backbone's tokenizer."""

    settings: Settings
    task: Task
    backbone: LoadedBackbone
    fingerprint: str
    splits: Splits
    scoring: Sequence[str]
    encodings: Mapping[str, Encoding]
    device: str
    check: Callable[[], None]
    text: PlainText | None
    bare: tuple[int, int] | None


def run_seeds(
    settings: Settings, due: Iterable[tuple[int, Path]], check: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Train, score and record each seed; yield its record, finished or failed.

    Args:
        settings: One configuration.
        due: Seed and path of the record, for each run to do; the next is asked for when the one
            before is recorded.
        check: Called before files of a run are written; raises if the run is no longer this worker's.

    Raises:
        PedroBenchError: If data, backbone or method do not fit; before anything is written. Of
            several processes, also if a run failed in a way that the others may not have met.
    """
    prepared = _prepare(settings, check)
    head = head_for(prepared.backbone, settings.task)
    AdaptedModel(
        prepared.backbone, settings.method, head
    ).remove()  # what cannot be attached raises
    for seed, path in due:
        yield _run_seed(prepared, seed, path).as_dict()
        if prepared.backbone.fingerprint() != prepared.fingerprint:
            raise TrainingError(
                f"a run must leave the backbone as it was, got other weights after {path.name}: this "
                "is a fault of the method, please report it."
            )


def _prepare(settings: Settings, check: Callable[[], None]) -> _Prepared:
    """Load and divide the data, load the backbone, encode the splits."""
    splits = with_fewer_test_rows(
        load_splits(settings.task, settings.data), settings.task, settings.evaluation.test_rows
    )
    scoring = settings.task.scoring_notes(splits["test"].examples)
    device = resolve_device(settings.device)
    backbone, fingerprint = _loaded(settings.backbone, device)
    task = settings.task.for_tokenizer(backbone.tokenizer)
    if task is not settings.task:
        splits = with_fewer_test_rows(
            load_splits(task, settings.data), task, settings.evaluation.test_rows
        )
    head = head_for(backbone, settings.task)
    cache = Path(settings.output_dir) / "cache" / "encodings"
    encodings = {}
    for name in ("train", "dev", "test"):
        try:
            if head is not None:
                encodings[name] = encode_pairs(
                    backbone.tokenizer, splits[name].examples, head, max_length=settings.max_tokens
                )
                continue
            room = _room(settings, backbone, splits) if name == "test" else 0
            limits = Limits(settings.max_tokens, name != "test", room)
            encodings[name] = encode_cached(
                backbone.tokenizer, splits[name].examples, limits, cache
            )
        except PedroBenchError as error:
            raise type(error)(f"split {name} of task {settings.task.name}: {error}") from None
    text = None
    if settings.evaluation.forgetting is not None:
        size = settings.evaluation.batch_size
        text = PlainText(settings.evaluation.forgetting, backbone, settings.max_tokens, size)
    bare = _bare_operations(backbone, head, settings.max_tokens) if num_shares() == 1 else None
    return _Prepared(
        settings, task, backbone, fingerprint, splits, scoring, encodings, device, check, text, bare
    )


def _bare_operations(
    backbone: LoadedBackbone, head: Head | None, max_tokens: int
) -> tuple[int, int]:
    """Return the tokens of a prompt, and the operations of the bare backbone's pass over it."""
    tokens = max(1, min(costs.TOKENS, max_tokens - 1))
    with unchanged(backbone, head) as bare:
        return tokens, costs.operations(bare, tokens)


def _room(settings: Settings, backbone: LoadedBackbone, splits: Splits) -> int:
    """Return the tokens to keep beside test prompts, so that all that follows them has positions."""
    room, positions = settings.task.max_new_tokens, backbone.shape.max_positions
    examples = splits["test"].examples
    if not settings.evaluation.ranks or positions is None:
        return room
    spare = positions - settings.method.num_positions - settings.max_tokens
    if all(len(word.encode()) + 2 <= spare for one in examples for word in one.candidates):
        return room
    pairs = [(one, word) for one in examples for word in one.candidates]
    return max(room, *(len(ids) - spare for ids in continuation_ids(backbone.tokenizer, pairs)))


@lru_cache(maxsize=1)
def _loaded(config: Backbone, device: str) -> tuple[LoadedBackbone, str]:
    """Load a backbone once for all configurations of this process that share it."""
    shares = num_shares()
    backbone = config.load(device=device if shares == 1 else "cpu")
    fit_threads(backbone.shape.num_parameters, device)
    if shares > 1:
        shard(backbone, torch.device(device), shares)
    return backbone, backbone.fingerprint()


def _run_seed(prepared: _Prepared, seed: int, path: Path) -> RunRecord:
    """Run one seed and write its record; what goes wrong is written as a failed record."""
    settings = prepared.settings
    folder = working_folder(settings, path)
    prepared.check()  # loading may have taken longer than a lease, if this machine slept
    if settings.rerun and is_main():
        restart(folder)
    record = _running(prepared, seed, path)
    _write(record, settings)
    reset_process_peak()
    with contextlib.closing(settings.tracking.start(record, folder)) as tracker:
        run = Run(
            settings, prepared.backbone, prepared.encodings, seed, record.key, folder, tracker
        )
        record = _trained(prepared, run, record, path)
        prepared.check()
        _write(record, settings)
        tracker.finish(record)
    if record.status == "finished" and is_main() and not settings.keep_checkpoints:
        files.settle(path.parent)
        with contextlib.suppress(OSError):  # a worker that slept writes there for its last moment
            restart(folder)
    return record


def _trained(prepared: _Prepared, run: Run, record: RunRecord, path: Path) -> RunRecord:
    """Train and score a run; return its record, finished or failed."""
    adapted: AdaptedModel | None = None
    try:
        trained = train_phases(run)
        adapted = trained.adapted
        record = _score(prepared, trained, record, path)
        if is_main():
            save_adapter(run.folder, adapted, record)
        size = costs.adapter_bytes(adapted)
        record = record.changed(memory={**record.memory, "adapter_bytes": size})
    except Exception as error:  # recorded; the next seed goes on
        prepared.check()
        if not isinstance(error, PedroBenchError):
            _logger.exception("seed %d failed", run.seed)
        record = record.changed(status="failed", error=_sentence(error), finished=now())
        if is_one_of_several() and not isinstance(error, DivergenceError):
            _write(record, run.settings)
            raise  # the other processes wait for this one in the middle of a step
    finally:
        if adapted is not None:
            adapted.remove()
    return record


def _score(prepared: _Prepared, trained: Trained, record: RunRecord, path: Path) -> RunRecord:
    """Predict the test set, write the predictions, and return the finished record."""
    settings, adapted, result = prepared.settings, trained.adapted, trained.result
    started = time.perf_counter()
    examples = prepared.splits["test"].examples
    encoded = prepared.encodings["test"].encoded
    found = predict(
        adapted,
        prepared.task,
        examples,
        encoded,
        settings.evaluation,
        continued=partial(continuation_ids, adapted.backbone.tokenizer),
    )
    prepared.check()
    predictions = records.predictions_path(path)
    content = prediction_lines(prepared.task, found, examples)
    if is_main():
        files.write_text(predictions, content)
    seconds = time.perf_counter() - started
    return record.changed(
        status="finished",
        history=[dict(entry) for entry in result.history],
        best_step=result.best_step,
        metrics={"dev": {"loss": result.best_dev_loss}, "test": dict(found.scores)},
        forgetting=prepared.text.measured(adapted) if prepared.text is not None else None,
        operations=_operations(prepared, adapted),
        parameters=_parameters(adapted.method, prepared.backbone, adapted.num_head_parameters),
        predictions={
            "path": predictions.relative_to(path.parent).as_posix(),
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
        },
        phases=list(trained.phases),
        timing={
            "train_seconds": round(result.train_seconds, 3),
            "tokens_per_second": round(result.tokens_per_second, 1),
            "test_seconds": round(seconds, 3),
        },
        memory=peak_bytes(result.peak_memory_bytes),
        finished=now(),
    )


def _operations(prepared: _Prepared, adapted: AdaptedModel) -> dict[str, int] | None:
    """Return the record's count of operations; None where layers are split over processes."""
    if prepared.bare is None:
        return None
    tokens, bare = prepared.bare
    adapted.eval()
    return {
        "tokens": tokens,
        "backbone": bare,
        "method": costs.operations(adapted, tokens) - bare,
    }


def _running(prepared: _Prepared, seed: int, path: Path) -> RunRecord:
    """Return the record of a run that is about to begin."""
    settings = prepared.settings
    return begun(settings, seed, path, now()).changed(
        parameters=_parameters(settings.method, prepared.backbone),
        versions=versions(settings),
        weights=prepared.backbone.revision,
        max_tokens=settings.max_tokens,
        splits={name: _split(prepared, name) for name in ("train", "dev", "test")},
        shares=num_shares(),
        notes=_notes(prepared),
        environment=describe_environment(prepared.device),
    )


def _parameters(
    method: Method, backbone: LoadedBackbone, num_head_parameters: int = 0
) -> dict[str, int]:
    """Return a record's ledger of one method: after a search, that of the method it found.

    The trained head of an encoder, which the papers do not count, stands apart.
    """
    count = method.count(backbone.shape)
    head = {"head": num_head_parameters} if num_head_parameters else {}
    return {
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": backbone.shape.num_parameters,
        **head,
    }


def _split(prepared: _Prepared, name: str) -> Split:
    """Return what a record says of one split, and of what encoding cut off."""
    own, encoding = prepared.splits[name], prepared.encodings[name]
    return Split(
        rows=own.rows,
        fingerprint=own.fingerprint,
        shortened=encoding.truncated,
        lost_answers=encoding.lost_answers,
        cut_answers=encoding.cut_answers,
    )


def _notes(prepared: _Prepared) -> list[str]:
    """Return what people should know of the data and the backbone, one sentence each."""
    notes = [*prepared.splits.notes, *prepared.scoring]
    limit, asked = prepared.settings.max_tokens, prepared.settings.trainer.max_length
    positions = prepared.backbone.shape.max_positions
    if positions is not None and positions < asked:
        notes.append(
            f"The backbone has {positions} positions, fewer than trainer.max_length={asked}, so prompts "
            f"and answers were fitted into {limit} tokens."
        )
    for name, found in prepared.encodings.items():
        if found.misread:
            notes.append(
                f"{found.misread} of {len(found.encoded)} {name} examples hold the written form of a "
                "control token, which this tokenizer cannot read as text."
            )
    return notes


def _write(record: RunRecord, settings: Settings) -> None:
    if is_main():
        records.write(record, settings.results_dir)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, PedroBenchError) else f"{type(error).__name__}: {text}"
