"""Run the seeds of one configuration: data and backbone are loaded once, each seed starts clean.

Once a seed has run, the method is taken out of the backbone again. Before a finished record is written, the
backbone's fingerprint proves that not a bit of it has changed.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pedro_bench import files, records
from pedro_bench.data.encoding import continuation_ids
from pedro_bench.distributed import is_main, is_one_of_several
from pedro_bench.errors import DivergenceError, PedroBenchError, TrainingError, sentence
from pedro_bench.evaluation.prediction import predict
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import Settings
from pedro_bench.protocols.task import Task
from pedro_bench.records import RunRecord, Split
from pedro_bench.runs import costs
from pedro_bench.runs.environment import describe_environment, now, peak_bytes, reset_process_peak
from pedro_bench.runs.identity import begun, versions
from pedro_bench.runs.phases import RunInputs, Trained, prediction_lines, train_phases
from pedro_bench.runs.preparation import Prepared, forget_backbone, prepare
from pedro_bench.runs.processes import num_shares, on_main
from pedro_bench.runs.saved import save_adapter
from pedro_bench.training.saved_folder import remove_results, restart, working_folder
from pedro_bench.training.state import TrainResult

_logger = logging.getLogger(__name__)


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
        PedroBenchError: If data, backbone or method do not fit, or the method attaches other than it
            counts; before anything is written. Of several processes, also if a run failed in a way that
            the others may not have met.
    """
    try:
        prepared = prepare(settings, check)
        head = head_for(prepared.backbone, settings.task)
        # What cannot be attached raises here, before anything is written.
        probe = AdaptedModel(prepared.backbone, settings.method, head)
        try:
            probe.check_count()
        finally:
            probe.remove()
        for seed, path in due:
            yield _run_seed(prepared, seed, path).as_dict()
    except Exception:
        forget_backbone()  # it may have been left changed
        raise


def _run_seed(prepared: Prepared, seed: int, path: Path) -> RunRecord:
    """Run one seed and write its record; what goes wrong is written as a failed record.

    Raises:
        TrainingError: If the method left the backbone changed, once this is recorded.
    """
    settings = prepared.settings
    folder = working_folder(settings, path)
    prepared.check()  # loading may have taken longer than a lease, if this machine slept
    running = _running(prepared, seed, path)
    on_main(partial(records.write, running, settings.results_dir))
    if is_main():  # an earlier run's are not this record's
        remove_results(folder, path)
    reset_process_peak()
    with contextlib.closing(settings.tracking.start(running, folder)) as tracker:
        run = RunInputs(
            settings,
            prepared.backbone,
            prepared.encodings,
            seed,
            running.key,
            folder,
            tracker,
            prepared.dev_score,
        )
        record = _trained(prepared, run, running, path)
        changed = _left_changed(prepared, path)
        if changed is not None and record.status == "finished":
            record = _failed(running, changed)
        prepared.check()
        if record.status == "failed" and is_main():
            remove_results(folder, path)
            if changed is not None:
                restart(folder)  # checkpoints on a changed backbone are of no use
        on_main(partial(records.write, record, settings.results_dir))
        tracker.finish(record)
    if changed is not None:
        raise changed
    if record.status == "finished" and is_main() and not settings.keep_checkpoints:
        files.settle(path.parent)
        with contextlib.suppress(OSError):  # a worker that slept writes there for its last moment
            restart(folder)
    return record


def _trained(prepared: Prepared, run: RunInputs, record: RunRecord, path: Path) -> RunRecord:
    """Train and score a run; return its record, finished or failed."""
    adapted: AdaptedModel | None = None
    try:
        trained = train_phases(run)
        adapted = trained.adapted
        scored = _score(prepared, trained, record, path)
        prepared.check()  # forgetting and operations were measured since the last one
        on_main(partial(save_adapter, run.folder, adapted, scored))
        size = costs.adapter_bytes(adapted)
        return scored.changed(memory={**scored.memory, "adapter_bytes": size})
    except Exception as error:  # recorded; the next seed goes on
        prepared.check()
        if not isinstance(error, PedroBenchError):
            _logger.exception("seed %d failed", run.seed)
        record = _failed(record, error)  # of the one from before scoring: it has no scores
        if is_one_of_several() and not isinstance(error, DivergenceError):
            if is_main():
                remove_results(run.folder, path)
                records.write(record, run.settings.results_dir)
            raise  # the other processes wait for this one in the middle of a step
        return record
    finally:
        if adapted is not None:
            adapted.remove()


def _failed(record: RunRecord, error: Exception) -> RunRecord:
    return record.changed(
        status="failed", error=sentence(error), error_type=type(error).__name__, finished=now()
    )


def _left_changed(prepared: Prepared, path: Path) -> TrainingError | None:
    """Return the error of a run after which the backbone has other weights than before."""
    if prepared.backbone.fingerprint() == prepared.fingerprint:
        return None
    return TrainingError(
        f"a run must leave the backbone as it was, got other weights after {path.name}: this is a fault of "
        "the method, please report it."
    )


def _score(prepared: Prepared, trained: Trained, record: RunRecord, path: Path) -> RunRecord:
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
    on_main(partial(files.write_text, predictions, content))
    seconds = time.perf_counter() - started
    return record.changed(
        status="finished",
        history=[dict(entry) for entry in result.history],
        best_step=result.best_step,
        metrics={"dev": _dev_metrics(prepared.task, result), "test": dict(found.scores)},
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
        energy=_energy(result, adapted),
        finished=now(),
    )


def _dev_metrics(task: Task, result: TrainResult) -> dict[str, float]:
    score = result.best_dev_score
    return {"loss": result.best_dev_loss} | ({} if score is None else {task.main_metric: score})


def _energy(result: TrainResult, adapted: AdaptedModel) -> dict[str, Any] | None:
    """Return the record's energy of the training; None where the device did not count it."""
    if result.train_joules is None:
        return None
    of = "gpu" if adapted.backbone.device.type == "cuda" else "processors"
    return {"train_joules": round(result.train_joules, 3), "of": of}


def _operations(prepared: Prepared, adapted: AdaptedModel) -> dict[str, int] | None:
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


def _running(prepared: Prepared, seed: int, path: Path) -> RunRecord:
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


def _split(prepared: Prepared, name: str) -> Split:
    """Return what a record says of one split, and of what encoding cut off."""
    own, encoding = prepared.splits[name], prepared.encodings[name]
    return Split(
        rows=own.rows,
        fingerprint=own.fingerprint,
        shortened=encoding.truncated,
        lost_answers=encoding.lost_answers,
        cut_answers=encoding.cut_answers,
    )


def _notes(prepared: Prepared) -> list[str]:
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
