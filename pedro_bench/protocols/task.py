"""Task: prompt template, answer and metric of one data set; DataSource: where its official rows come from.

A task turns a raw row of the official release into an `Example` (prompt and answer as text), and turns
generated text back into predictions and scores. A decoder has no classification head: the answer is text
produced by the language-modelling head. Of an encoder, a head gives it (`head.py`). A source reads rows and
knows nothing of prompts; rows are divided into train, dev and test by `pedro_bench.data.splits`, the same for
every source. Nothing here imports torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from pedro_bench import checks
from pedro_bench.errors import ConfigError

if TYPE_CHECKING:
    from pedro_bench.protocols.head import Head

Row = Mapping[str, Any]
"""One row of a data set, with the official release's field names."""


class Metric(Protocol):
    """A function of `pedro_bench.metrics` with a version, which `metrics.versioned` gives it."""

    __name__: str
    version: int

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Score predictions."""


@dataclass(frozen=True)
class Part:
    """A piece of a prompt.

    Attributes:
        text: What stands there.
        can_shrink: Whether it may be cut to fit the length limit.
        is_template: Whether the task wrote it: control tokens in it are meant as such. In all other
            pieces, which are data, they are text.
    """

    text: str
    can_shrink: bool = False
    is_template: bool = False


@dataclass(frozen=True)
class Example:
    """One row as the model sees it.

    Attributes:
        parts: Pieces whose texts, joined without separator, are the prompt (no trailing space).
        answer: The text to be produced, without leading space; empty where the row has no label.
        golds: All answers that count as right; the first is what training uses unless stated.
        identity: What makes two rows duplicates (a digest of all prompt fields, white space and case folded).
        candidates: The closed set of answers, where there is one (label words, choices); else empty.
        extractive: Whether the answer is to be found in the prompt, so that cutting can lose it.
        open_ended: Whether the answer is a text of any length, whose end may be cut in training.
        joint: What stands between prompt and answer, and belongs to the answer.
        ending: What a template writes behind the answer, before the end-of-sequence token.
    """

    parts: tuple[Part, ...]
    answer: str
    golds: tuple[str, ...]
    identity: str
    candidates: tuple[str, ...] = ()
    extractive: bool = False
    open_ended: bool = False
    joint: str = " "
    ending: str = ""

    @property
    def prompt(self) -> str:
        """The whole prompt."""
        return "".join(part.text for part in self.parts)


SMALL_TASK_ROWS = 10_000
"""Official training rows below which a task is small: halves of the validation rows, batches of 16."""

SPLIT_RULES = ("halves", "holdout", "by_size", "from_validation", "train_only", "given")
"""How official train and validation rows become train, dev and test (SPEC of the protocol, section 4).

`halves`: the official validation rows are cut in half (dev, test); for under 10,000 official train rows.
`holdout`: `dev_rows` train rows become dev, the official validation rows are the test set.
`by_size`: `halves` for under 10,000 official train rows, else `holdout` (RED's code for T5 on GLUE).
`from_validation`: the official validation rows are cut: `dev_rows` of them are dev and the rest test,
    halves where that would be fewer (the RED paper's rule for GLUE, with 1,000 dev rows).
`train_only`: the release has train rows alone; `dev_rows` of them are the test set, and as many dev.
`given`: the data set brings train, dev and test itself.
"""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Configuration and behaviour of one task; checks itself on construction.

    Attributes:
        name: The YAML's name, and the folder under `data.root` that holds its files.
        label: Name as printed in tables.
        version: Raised whenever prompt, splits or metric change; enters the key of a run.
        split_rule: One of SPLIT_RULES, from the official sizes.
        dev_rows: Rows of dev under `holdout`, `by_size`, `from_validation` and `train_only`.
        official_rows: Official (train, validation) row counts, for `inspect` and the batch-size rule.
        hub_id: Data set on the Hub, with `hub_config` and a pinned `hub_revision`.
        max_new_tokens: Longest answer that is generated, in tokens.
        validation_split: The official validation split's own name, where there are several.
        train_split: The official train split's own name, likewise.
        columns: Columns of the official text table, in order, where it has no header line.
        broken_rows: Rows of the official text table that lack cells and are left out.
        lower_is_better: Whether the least value of the main metric is the best, as of an error.
    """

    family_version: ClassVar[int] = 1
    """Raised whenever a class of tasks moves numbers: how it makes examples, takes answers out of text or
    combines metrics. `version` is that of one task's YAML. Both enter the key of a run."""

    name: str
    label: str
    version: int
    split_rule: str
    official_rows: tuple[int, int]
    dev_rows: int = 1000
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    max_new_tokens: int = 16
    validation_split: str = "validation"
    columns: Sequence[str] = ()
    broken_rows: int = 0
    train_split: str = checks.later("train", neutral="train")
    lower_is_better: bool = checks.later(False, neutral=False)

    def __post_init__(self) -> None:
        checks.text("task.name", self.name)
        checks.integer("task.version", self.version)
        checks.choice("task.split_rule", self.split_rule, SPLIT_RULES)
        rows = checks.items("task.official_rows", self.official_rows, "two numbers")
        if len(rows) != 2:
            raise ConfigError(
                f"task.official_rows must be two numbers, of train and of validation rows, got {rows!r}."
            )
        for one in rows:
            checks.integer("task.official_rows", one, least=0)
        checks.integer("task.dev_rows", self.dev_rows)
        checks.integer("task.max_new_tokens", self.max_new_tokens)
        checks.text("task.validation_split", self.validation_split)
        checks.text("task.train_split", self.train_split)
        checks.integer("task.broken_rows", self.broken_rows, least=0)
        checks.flag("task.lower_is_better", self.lower_is_better)
        object.__setattr__(self, "columns", tuple(checks.texts("task.columns", self.columns)))

    @property
    def official_splits(self) -> dict[str, str]:
        """The labelled official splits that are read -> their own names; `test` under `given` alone."""
        own = {"train": self.train_split, "validation": self.validation_split}
        return own | {"test": "test"} if self.split_rule == "given" else own

    @property
    def division(self) -> str:
        """The split rule in force: that of this task's size under `by_size`."""
        if self.split_rule != "by_size":
            return self.split_rule
        return "halves" if self.official_rows[0] < SMALL_TASK_ROWS else "holdout"

    @property
    @abstractmethod
    def main_metric(self) -> str:
        """Key of the metric that tables show, and that may choose the checkpoint (see `lower_is_better`)."""

    @property
    @abstractmethod
    def metric_functions(self) -> "tuple[Metric, ...]":
        """The metrics that `score` uses; their versions enter the key of a run."""

    @property
    def is_mean_over_examples(self) -> bool:
        """Whether the main metric is the mean of what each example scores alone (accuracy, not BLEU)."""
        return False

    @property
    @abstractmethod
    def fields(self) -> tuple[str, ...]:
        """Fields that every row must have (the label's field excepted in unlabelled files)."""

    @abstractmethod
    def example(self, row: Row) -> Example:
        """Turn a row into prompt and answer.

        Raises:
            DataError: If a field is missing or its value is outside what the task knows; the message
                names the field (the caller adds file and line).
        """

    @property
    def is_closed(self) -> bool:
        """Whether every example brings its closed set of answers, so that likelihood can rank it."""
        return False

    @property
    def answers(self) -> tuple[str, ...]:
        """The closed set of answers that all rows share; empty where there is none."""
        return ()

    @property
    def head(self) -> "Head | None":
        """What an encoder's head says in this task, or None where the answer is to be written."""
        return None

    @property
    def ending(self) -> str:
        """What the prompts' template writes behind every answer, before the end-of-sequence token."""
        return ""

    def for_tokenizer(self, tokenizer: Any) -> "Task":
        """Return the task whose prompts are in the form that the backbone's tokenizer asks for (itself)."""
        return self

    def scored_examples(self, examples: Sequence[Example]) -> list[Example]:
        """Return the test split's examples as the official script scores them (as they are)."""
        return list(examples)

    @abstractmethod
    def extract(self, text: str, example: Example) -> str:
        """Take the answer out of generated text (which may run on after it)."""

    @abstractmethod
    def score(self, predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, float]:
        """Score extracted answers, in percent; also how many were outside the candidates, if closed.

        Returns:
            Metric name -> value; `main_metric` is among them.
        """

    def scoring_notes(self, examples: Sequence[Example]) -> list[str]:
        """Return what a reader should know of how these examples are scored here, one sentence each.

        Raises:
            PedroBenchError: If a program that scoring uses is there and does not work.
        """
        return []


class Located(NamedTuple):
    """A row and where it came from.

    Attributes:
        row: The row, with the official release's field names.
        place: Its origin for messages, such as `data/boolq/train.jsonl:12` or `micro train row 3`.
    """

    row: Row
    place: str


@dataclass(frozen=True, kw_only=True)
class DataSource(ABC):
    """Configuration of a data source: what `conf/data/*.yaml` builds; it checks itself.

    Attributes:
        name: The YAML's name; stands in records.
        holdout: Share of the train rows that stands in for an absent validation split, above 0 and
            at most 0.5; None stops the run where that split is absent, unless the release has none.
    """

    version: ClassVar[int] = 1
    """Raised whenever the source reads other rows of the same files; enters the key of a run."""

    name: str
    holdout: float | None = None

    def __post_init__(self) -> None:
        checks.text("data.name", self.name)
        checks.number("data.holdout", self.holdout, above=0, most=0.5, optional=True)

    def may_lack_validation(self, task: Task) -> bool:
        """Whether train rows may stand in for validation rows that are not there."""
        return self.holdout is not None or task.split_rule == "train_only"

    @abstractmethod
    def read(self, task: Task) -> dict[str, list[Located]]:
        """Read the labelled rows of a task.

        Returns:
            Official split name -> rows in official order: `train` and, where there is one,
            `validation`; or `train`, `dev` and `test` where the source brings all three.

        Raises:
            DataError: If the data cannot be found or read; one sentence with place and remedy.
        """

    @abstractmethod
    def fingerprint(self, task: Task) -> str:
        """Return a text that changes whenever the task's rows may change; torch-free and cheap.

        Raises:
            DataError: If the data cannot be found.
        """
