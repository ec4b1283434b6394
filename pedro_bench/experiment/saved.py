"""A finished run's adapter: saved as safetensors beside a JSON that says what it fits; loaded again.

<output_dir>/<suite>/<stem>/adapter/adapter.safetensors   what was trained
<output_dir>/<suite>/<stem>/adapter/state.json            method, backbone, record
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.data.encoding import encode
from pedro_bench.data.prompt import example_of, templates_of
from pedro_bench.errors import BackboneError, RecordError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.experiment.identity import resolve_device
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import build_group, describe, tokens_left
from pedro_bench.records import RunRecord
from pedro_bench.serving.fast_decoding import decoder_for, stepping
from pedro_bench.training.saved_folder import DamagedFolderError, Saved, read_folder, write_folder

_ADAPTER = "adapter"

DEFAULT_BEAMS = 3


class SavedRun:
    """A trained model, ready to use; calls of several threads run one after another.

    Attributes:
        adapted: The adapted model, in evaluation mode.
    """

    def __init__(
        self, adapted: AdaptedModel, config: dict[str, Any], decoding: str = "plain"
    ) -> None:
        self._decoder = decoder_for(adapted.backbone, decoding)
        self.adapted = adapted
        self._config = config
        self._templates = templates_of(config.get("task", {}))
        # Decoding sets modes and settings of the one model. The same thread may call within a call:
        # then they are put back in order, and steps of fast decoding refuse it themselves.
        self._turn = threading.RLock()

    @property
    def model(self) -> AdaptedModel:
        """The adapted model: a torch module that takes batches."""
        return self.adapted

    @property
    def tokenizer(self) -> Any:
        """The backbone's tokenizer."""
        return self.adapted.backbone.tokenizer

    def generate(
        self,
        prompts: Sequence[str],
        num_beams: int | None = None,
        max_new_tokens: int | None = None,
        batch_size: int = 32,
    ) -> list[str]:
        """Generate the answer to each prompt, without leading space.

        Args:
            prompts: Prompt texts, such as `example.prompt`, without trailing space. Control tokens are
                those that the run's template writes; elsewhere their written form is text.
            num_beams: Beams; None: as in the run's evaluation (3 where that only ranked answers).
            max_new_tokens: Longest answer in tokens; None: the task's.
            batch_size: Prompts decoded together.

        Raises:
            DataError: If a prompt is longer than the run's `trainer.max_length`, or UTF-8 cannot
                encode it.
            ContextError: If this thread is within a generation of this run, and decoding is not plain.
        """
        room = max_new_tokens or int(self._config["task"]["max_new_tokens"])
        examples = [
            example_of(f"prompts[{row}]", prompt, templates=self._templates)
            for row, prompt in enumerate(prompts)
        ]
        limit = self._max_tokens()
        encoded = encode(
            self.tokenizer, examples, max_length=limit, with_answers=False, max_new_tokens=room
        ).encoded
        beams = num_beams or int(self._config["evaluation"].get("num_beams", DEFAULT_BEAMS))
        steps = stepping(self._decoder, self.adapted.modules(), max_new_tokens=room)
        with self._turn, steps:
            texts = generate(
                self.adapted, encoded, num_beams=beams, max_new_tokens=room, batch_size=batch_size
            )
        return [text.strip() for text in texts]

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], batch_size: int = 32) -> list[float]:
        """Return the log-probability (nats) of each answer and its end, given its prompt.

        Args:
            pairs: (prompt, answer); the answer without leading space.
            batch_size: Pairs scored together.

        Raises:
            DataError: If a pair is longer than the run's `trainer.max_length`, or UTF-8 cannot encode
                it.
        """
        examples = [
            example_of(f"pairs[{row}]", prompt, answer, self._templates)
            for row, (prompt, answer) in enumerate(pairs)
        ]
        limit = self._max_tokens()
        encoded = encode(self.tokenizer, examples, max_length=limit, with_answers=True).encoded
        with self._turn:
            return loglikelihood(self.adapted, encoded, batch_size=batch_size)

    def _max_tokens(self) -> int:
        """Most tokens of prompt and answer together, as in the run."""
        return tokens_left(int(self._config["trainer"]["max_length"]), self.adapted.method)


def save_adapter(folder: Path, adapted: AdaptedModel, record: RunRecord) -> None:
    """Save the trained adapter of a finished run, whole or not at all.

    Raises:
        TrainingError: If the folder cannot be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = {"kind": "adapter", "key": record.key, "seed": record.seed}
    state = {
        "method": describe(adapted.method),
        "config": dict(record.config),
        "backbone_revision": adapted.backbone.revision,
    }
    write_folder(folder / _ADAPTER, Saved(header, state, {"adapter": adapted.adapter_state()}))


def load_run(path: str | Path, *, device: str, decoding: str) -> SavedRun:
    """Load a run from its record or its working folder; see `pedro_bench.experiment.load`."""
    saved = read_saved(path)
    config = dict(saved.state["config"])
    backbone = build_group("backbone", config["backbone"]).load(device=resolve_device(device))
    if backbone.revision != saved.state["backbone_revision"]:
        raise BackboneError(
            f"backbone {backbone.name!r} must be the one the run was trained on "
            f"({saved.state['backbone_revision']}), got {backbone.revision}."
        )
    adapted = AdaptedModel(backbone, build_group("method", saved.state["method"]))
    adapted.load_adapter_state(saved.tensors["adapter"])
    adapted.eval()
    return SavedRun(adapted, config, decoding)


def read_saved(path: str | Path) -> Saved:
    """Read a finished run's adapter from its record or its working folder, without the backbone.

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
    """
    path = Path(path)
    folder = path if path.is_dir() else _folder_of(path)
    try:
        return read_folder(folder / _ADAPTER)
    except DamagedFolderError as error:
        raise RecordError(
            f"a finished run must have its adapter in {folder / _ADAPTER}, got a folder in which "
            f"{error}: run it again with rerun=true."
        ) from error


def _folder_of(path: Path) -> Path:
    """Return the working folder of the run that a record describes.

    Raises:
        RecordError: If the record is not that of a finished run, or its folder is gone.
    """
    record = records.read(path)
    if record.status != "finished":
        raise RecordError(f"record {path} must be finished to be loaded, got {record.status!r}.")
    folder = Path(record.config["output_dir"]) / record.suite / record.stem
    if not folder.is_absolute() and not folder.is_dir():
        beside = path.resolve().parents[3] / folder
        folder = beside if beside.is_dir() else folder
    if not folder.is_dir():
        raise RecordError(
            f"a run must have its working folder {folder} to be loaded, got none: adapters are not "
            "part of the records, so train it again with rerun=true."
        )
    return folder
