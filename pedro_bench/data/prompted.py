"""What all tasks share whose prompt is a template with places for the fields of a row."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pedro_bench.data.fields import plain_lists, text_of
from pedro_bench.data.prompt import PromptTemplate, parse_template
from pedro_bench.protocols.task import Row, Task


@dataclass(frozen=True, kw_only=True)
class PromptedTask(Task):
    """A prompt filled from the texts of a row, and one more field that holds what is right.

    Attributes:
        prompt: Template with a `{field}` for every text field.
        shrinkable: The field that may be cut from its end to fit the length limit, or None.
        aliases: Field -> other names of it in other releases.
    """

    prompt: str
    shrinkable: str | None = None
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "aliases", plain_lists("task.aliases", self.aliases))
        self.template  # noqa: B018 - checks the prompt

    @property
    @abstractmethod
    def gold_field(self) -> str:
        """The field that holds the label or the answers."""

    @property
    def template(self) -> PromptTemplate:
        """The parsed prompt."""
        return parse_template("task.prompt", self.prompt, self.shrinkable)

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the prompt, and the one that holds what is right."""
        return (*self.template.fields, self.gold_field)

    def texts(self, row: Row) -> dict[str, str]:
        """Return the texts that fill the prompt, field -> text.

        Raises:
            DataError: If a field is missing, empty or no text.
        """
        return {name: text_of(row, name, self.aliases) for name in self.template.fields}
