"""Requests of a bank: (tenant, prompt) or (tenant, texts) pairs, as token ids and in batches."""

import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pedro_bench import checks
from pedro_bench.data.encoding import encode_whole
from pedro_bench.data.prompt import example_of
from pedro_bench.data.text_pairs import encode_texts
from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.evaluation.batches import by_length, lack_of_memory
from pedro_bench.protocols.batch import Encoded
from pedro_bench.serving.registry import Search, Tenant


def check_numbers(num_beams: int, max_new_tokens: int, batch_size: int) -> None:
    """Require of what texts are generated with that each is a whole number of at least 1.

    Raises:
        ConfigError: If one is not.
    """
    checks.integer("num_beams", num_beams)
    checks.integer("max_new_tokens", max_new_tokens)
    checks.integer("batch_size", batch_size)


def encode_prompts(
    tokenizer: Any,
    requests: Sequence[tuple[str, str]],
    found: Mapping[str, Tenant],
    *,
    max_new_tokens: int,
) -> Sequence[Encoded]:
    """Encode prompts, each with its tenant's templates, see `AdapterBank.generate`.

    Raises:
        DataError: If a prompt and its answer are longer than its tenant takes, or UTF-8 cannot encode it.
    """
    examples = [
        example_of(f"requests[{row}]", prompt, templates=found[tenant].templates)
        for row, (tenant, prompt) in enumerate(requests)
    ]
    return encode_whole(
        tokenizer,
        examples,
        max_lengths=[found[tenant].max_length for tenant, _ in requests],
        max_new_tokens=max_new_tokens,
    )


def label_requests(requests: Any) -> list[tuple[str, Any]]:
    """Require pairs of a tenant and texts, whose form the tenant's template decides.

    Raises:
        ConfigError: If it is anything else.
    """
    found = checks.items("requests", requests, "pairs")
    for row, one in enumerate(found):
        if not isinstance(one, list | tuple) or len(one) != 2 or not isinstance(one[0], str):
            raise ConfigError(
                f"requests[{row}] must be a pair (tenant, texts), got {reprlib.repr(one)}."
            )
    return [(tenant, texts) for tenant, texts in found]


def encode_labelled(
    tokenizer: Any, requests: Sequence[tuple[str, Any]], found: Mapping[str, Tenant]
) -> Sequence[Encoded]:
    """Encode texts that are to be labelled, each as its tenant's template has them, see `AdapterBank.label`.

    Raises:
        ConfigError: If a tenant has no template, or a row not as many texts as it has fields.
        DataError: If a row is longer than its tenant takes, or UTF-8 cannot encode it.
    """
    for tenant, one in found.items():
        if not one.templates:
            raise ConfigError(
                f"tenant {tenant!r} must know its task's prompt to label texts, got none: take its "
                "adapter with saved_adapter(path), or encode the texts and call label_encoded."
            )
    return encode_texts(
        tokenizer,
        "requests",
        [texts for _, texts in requests],
        [found[tenant].templates[0] for tenant, _ in requests],
        max_lengths=[found[tenant].max_length for tenant, _ in requests],
    )


def batches(
    tenants: Sequence[Tenant], prompts: Sequence[Encoded], batch_size: int
) -> Iterator[list[int]]:
    """Yield the rows of each batch, the longest prompts first; its tenants share `Tenant.decoding`."""
    groups: dict[tuple[Search, str], list[int]] = {}
    for row, tenant in enumerate(tenants):
        groups.setdefault(tenant.decoding, []).append(row)
    for own in groups.values():
        for places in by_length([len(prompts[row].prompt_ids) for row in own], batch_size):
            yield [own[place] for place in places]


def answered(
    answer: Callable[[Sequence[int]], list[str]], rows: Sequence[int], tenants: Sequence[str]
) -> list[str]:
    """Return the answers to a batch; where it fails, each tenant's rows are tried alone to name the cause.

    Args:
        answer: Answers some rows of all requests together.
        rows: Those of the batch.
        tenants: Whose each request is.

    Raises:
        TrainingError: As `answer`; where outputs are not numbers, with the tenants whose they are.
    """
    try:
        return answer(rows)
    except TrainingError as error:
        if lack_of_memory(error) is not None:
            raise
        own: dict[str, list[int]] = {}
        for row in rows:
            own.setdefault(tenants[row], []).append(row)
        wrong = [name for name, alone in own.items() if len(own) == 1 or _fails(answer, alone)]
        if not wrong:
            raise
        named = f"tenant{'s' * (len(wrong) > 1)} {', '.join(map(repr, wrong))}"
        raise TrainingError(f"{named}: {error}") from error


def _fails(answer: Callable[[Sequence[int]], list[str]], rows: Sequence[int]) -> bool:
    """Whether rows have outputs that are not numbers."""
    try:
        answer(rows)
    except TrainingError as error:
        if lack_of_memory(error) is not None:
            raise
        return True
    return False
