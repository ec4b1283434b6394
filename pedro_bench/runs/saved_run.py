"""SavedRun: a trained model that generates, scores and labels texts as its run did."""

import threading
from collections.abc import Sequence
from typing import Any

from pedro_bench import checks
from pedro_bench.data.chat import templates_for
from pedro_bench.data.encoding import encode_whole
from pedro_bench.data.prompt import ending_of, example_of
from pedro_bench.data.text_pairs import encode_texts
from pedro_bench.errors import BackboneError
from pedro_bench.evaluation.config import search_settings
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.labelling import label
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.serving.fast_decoding import decoder_for, stepping


class SavedRun:
    """A trained model in evaluation mode; calls of several threads run one after another."""

    def __init__(
        self, adapted: AdaptedModel, config: dict[str, Any], decoding: str = "plain"
    ) -> None:
        self._decoder = decoder_for(adapted.backbone, decoding)
        self.adapted = adapted
        self._config = config
        self._templates = templates_for(config["task"], adapted.backbone.tokenizer)
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
        """Generate the answer to each prompt as the run's evaluation did, without leading space.

        Args:
            prompts: Prompt texts, such as `example.prompt`, without trailing space. Control tokens are
                those that the run's template writes; elsewhere their written form is text.
            num_beams: Beams; None: the run's (3 where its evaluation only ranked answers). Length penalty
                and n-gram rule are the run's.
            max_new_tokens: Longest answer in tokens; None: the task's.
            batch_size: Prompts decoded together.

        Raises:
            BackboneError: If the backbone is an encoder.
            ConfigError: If an argument is not as above.
            DataError: If a prompt and its answer are longer than the run's `trainer.max_length` or the
                backbone's positions, or UTF-8 cannot encode it.
            ContextError: If this thread is within a generation of this run, and decoding is not plain.
        """
        prompts = checks.texts("prompts", prompts)
        checks.integer("num_beams", num_beams, optional=True)
        checks.integer("max_new_tokens", max_new_tokens, optional=True)
        checks.integer("batch_size", batch_size)
        room = max_new_tokens or int(self._config["task"]["max_new_tokens"])
        encoded = encode_whole(
            self.tokenizer,
            [
                example_of(f"prompts[{row}]", prompt, templates=self._templates)
                for row, prompt in enumerate(prompts)
            ],
            max_lengths=[self._max_tokens()] * len(prompts),
            max_new_tokens=room,
        )
        search = search_settings(self._config["evaluation"])
        search["num_beams"] = num_beams or search["num_beams"]
        steps = stepping(self._decoder, self.adapted.modules(), max_new_tokens=room)
        with self._turn, steps:
            texts = generate(
                self.adapted,
                encoded,
                max_new_tokens=room,
                batch_size=batch_size,
                ending=ending_of(self._templates),
                **search,
            )
        return [text.strip() for text in texts]

    def loglikelihood(self, pairs: Sequence[tuple[str, str]], batch_size: int = 32) -> list[float]:
        """Return the log-probability (nats) of each answer and its end, given its prompt.

        Args:
            pairs: (prompt, answer); the answer without leading space.
            batch_size: Pairs scored together.

        Raises:
            BackboneError: If the backbone is an encoder.
            ConfigError: If an argument is not as above.
            DataError: If a pair is longer than the run's `trainer.max_length` or the backbone's
                positions, or UTF-8 cannot encode it.
        """
        pairs = checks.pairs("pairs", pairs, ("prompt", "answer"))
        checks.integer("batch_size", batch_size)
        examples = [
            example_of(f"pairs[{row}]", prompt, answer, self._templates)
            for row, (prompt, answer) in enumerate(pairs)
        ]
        encoded = encode_whole(
            self.tokenizer,
            examples,
            max_lengths=[self._max_tokens()] * len(examples),
            with_answers=True,
        )
        with self._turn:
            return loglikelihood(self.adapted, encoded, batch_size=batch_size)

    def label(self, texts: Sequence[str | tuple[str, str]], batch_size: int = 32) -> list[str]:
        """Return what an encoder's head says of each text: a label word, or a number as text.

        Args:
            texts: The data's own texts without the task's words around them: one text, or a pair in the order
                of the task's prompt, such as RTE's premise and hypothesis.
            batch_size: Texts labelled together.

        Raises:
            BackboneError: If the backbone is no encoder.
            ConfigError: If an argument is not as above.
            DataError: If a text is longer than the run's `trainer.max_length` or the backbone's positions, or
                UTF-8 cannot encode it.
        """
        if self.adapted.head is None:
            raise BackboneError(
                f"label must be asked of an encoder, got backbone={self.adapted.backbone.name!r}, which "
                "answers in text: call generate or loglikelihood."
            )
        checks.integer("batch_size", batch_size)
        texts = checks.items("texts", texts, "texts")
        rows = encode_texts(
            self.tokenizer,
            "texts",
            texts,
            [self._templates[0]] * len(texts),
            max_lengths=[self._max_tokens()] * len(texts),
        )
        with self._turn:
            return label(self.adapted, rows, batch_size=batch_size)

    def _max_tokens(self) -> int:
        """Return the most tokens of prompt and answer together, as in the run."""
        length = int(self._config["trainer"]["max_length"])
        return tokens_left(length, self.adapted.method, self.adapted.backbone.shape)
