"""MMLU and BBH through the harness score as loops written here do, from the same files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")

from pedro_bench.errors import ConfigError
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.likelihood import loglikelihood
from pedro_bench.instruct.benchmark_rows import SHOTS, check_tasks, local_rows
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.harness import evaluate_task, stated_answer, task_names
from pedro_bench.instruct.harness_model import AdaptedLM
from pedro_bench.protocols.batch import Encoded
from tests.tiny import REAL_DATA, WORDS


def mmlu_rows(split: str, count: int, subject: str) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        words = [WORDS[(7 * number + 3 * at + len(split)) % len(WORDS)] for at in range(9)]
        rows.append(
            {
                "subject": subject,
                "question": f"{' '.join(words[:5])} ?",
                "choices": words[5:],
                "label": (number * 3 + len(split)) % 4,
            }
        )
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mmlu").mkdir()
    for split, count in (("dev", 5), ("test", 12)):
        rows = mmlu_rows(split, count, "anatomy") + mmlu_rows(split, count, "virology")
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "mmlu" / f"{split}.jsonl").write_text(lines)
    (tmp_path / "bbh").mkdir()
    examples = [
        {"input": " ".join(WORDS[at : at + 6]), "target": WORDS[at]} for at in range(0, 30, 5)
    ]
    document = json.dumps({"canary": "none", "examples": examples})
    (tmp_path / "bbh" / "boolean_expressions.json").write_text(document)
    return tmp_path


def make_lm(adapted: Any, **options: Any) -> AdaptedLM:
    return AdaptedLM(adapted, Contexts(adapted.backbone.tokenizer, 256), batch_size=8, **options)


def ids_of(adapted: Any, text: str) -> tuple[int, ...]:
    return tuple(adapted.backbone.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_mmlu_scores_as_a_loop_does(data: Path, make_adapted: Any) -> None:
    adapted = make_adapted(seed=2)
    rows = local_rows(str(data), "mmlu")["anatomy"]
    found = evaluate_task(make_lm(adapted), "mmlu", "anatomy", rows)

    def shown(row: dict[str, Any], answer: str) -> str:
        choices = "\n".join(f"{a}. {b}" for a, b in zip("ABCD", row["choices"], strict=True))
        return f"{row['question'].strip()}\n{choices}\nAnswer:{answer}"

    head = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    shots = "".join(f"{shown(row, ' ' + 'ABCD'[row['answer']])}\n\n" for row in rows["dev"])
    right = 0
    for number, row in enumerate(rows["test"]):
        context = (1, *ids_of(adapted, head + shots + shown(row, "")))
        pairs = [Encoded(context, ids_of(adapted, letter), 0) for letter in "ABCD"]
        scores = loglikelihood(adapted, pairs, batch_size=1)
        assert found.rows[number]["response"] == pytest.approx(scores, abs=1e-4)
        best = "ABCD"[scores.index(max(scores))]
        assert found.rows[number]["prediction"] == best
        assert found.rows[number]["target"] == "ABCD"[row["answer"]]
        right += best == "ABCD"[row["answer"]]
    assert found.accuracy == pytest.approx(100 * right / 12)
    assert sum(row["correct"] for row in found.rows) == right


def test_bbh_scores_as_a_loop_does(data: Path, make_adapted: Any) -> None:
    adapted = make_adapted(seed=4)
    rows = local_rows(str(data), "bbh")["boolean_expressions"]
    found = evaluate_task(make_lm(adapted, max_new_tokens=12), "bbh", "boolean_expressions", rows)
    assert [row["target"] for row in found.rows] == [row["target"] for row in rows["test"]]
    right = 0
    contexts = Contexts(adapted.backbone.tokenizer, 256)
    asked = captured_contexts(rows)
    for number, row in enumerate(rows["test"]):
        assert asked[number].count("\nA: Let's think step by step.\n") == 4
        assert asked[number].endswith(f"Q: {row['input']}\nA: Let's think step by step.\n")
        ids = contexts.fit(contexts.encode([asked[number]])[0], 12)
        text = generate(
            adapted, [Encoded(ids, (), 0)], num_beams=1, max_new_tokens=12, batch_size=1
        )[0]
        for stop in ("</s>", "Q", "\n\n"):
            text = text.split(stop)[0]
        stated = re.findall(r"(?<=the answer is )(.*)(?=.)", text)
        assert found.rows[number]["response"] == text
        assert found.rows[number]["prediction"] == (stated[0].strip() if stated else "[invalid]")
        right += bool(stated) and stated[0].strip() == row["target"]
    assert found.accuracy == pytest.approx(100 * right / len(rows["test"]))


class Parrot(AdaptedLM):
    """Says a prepared text for each request and keeps the requests."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.asked = texts, []
        self._rank, self._world_size = 0, 1

    def generate_until(self, requests: Any) -> list[str]:
        self.asked = [request.args[0] for request in requests]
        return self.texts[: len(requests)]


def captured_contexts(rows: Any) -> list[str]:
    parrot = Parrot([""] * len(rows["test"]))
    evaluate_task(parrot, "bbh", "boolean_expressions", rows)
    return parrot.asked


def test_bbh_counts_stated_answers(data: Path) -> None:
    rows = local_rows(str(data), "bbh")["boolean_expressions"]
    targets = [row["target"] for row in rows["test"]]
    said = [f"It is so. So the answer is {target}." for target in targets]
    assert evaluate_task(Parrot(said), "bbh", "boolean_expressions", rows).accuracy == 100.0
    said[0], said[1] = "So the answer is wrong.", "I do not know."
    found = evaluate_task(Parrot(said), "bbh", "boolean_expressions", rows)
    assert found.accuracy == pytest.approx(100 * 4 / 6)
    assert [row["prediction"] for row in found.rows[:2]] == ["wrong", "[invalid]"]


@pytest.mark.parametrize(
    ("said", "harness", "corrected"),
    [
        ("So the answer is True.", "True", "True"),
        ("So the answer is True", "Tru", "True"),
        ("So the answer is 12", "1", "12"),
        ("So the answer is 5", "", "5"),
        ("So the answer is True. ", "True.", "True"),
        ("So the answer is True.  \t", "True.", "True"),
        ("So the answer is (B)\nQ: another", "(B", "(B)"),
        ("So the answer is True. I am sure.", "True. I am sure", "True"),
        ("So the answer is 3.5.", "3.5", "3.5"),
        ("So the answer is 3.5", "3.", "3.5"),
        ("So the answer is -7!", "-7", "-7"),
        ("So the answer is ] ) }", "] )", "] ) }"),
        ("So the answer is True...", "True..", "True"),
        ("the answer is A. No, the answer is B.", "A. No, the answer is B", "A"),
        ("So the answer is .", "", "[invalid]"),
        ("So the answer is", "[invalid]", "[invalid]"),
        ("I do not know.", "[invalid]", "[invalid]"),
    ],
)
def test_a_stated_answer_is_read_whole_beside_the_harnesss_filter(
    data: Path, said: str, harness: str, corrected: str
) -> None:
    rows = local_rows(str(data), "bbh")["boolean_expressions"]
    one = {"test": [{**rows["test"][0], "target": corrected}]}
    (found,) = evaluate_task(Parrot([said]), "bbh", "boolean_expressions", one).rows
    assert (found["prediction"], found["corrected"]) == (harness, corrected)
    assert stated_answer(said) == corrected
    assert found["correct"] == (harness == corrected)
    assert found["corrected_correct"]


def test_two_models_one_after_the_other_share_nothing(
    data: Path, make_adapted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The harness's request cache would give the second model the first one's requests."""
    monkeypatch.setenv("LM_HARNESS_CACHE_PATH", str(tmp_path / "cache"))
    rows = local_rows(str(data), "mmlu")["virology"]
    responses = [
        [row["response"] for row in evaluate_task(lm, "mmlu", "virology", rows).rows]
        for lm in (make_lm(make_adapted(seed=seed)) for seed in (0, 1, 0))
    ]
    assert responses[0] == responses[2]
    assert responses[0] != responses[1]
    assert not (tmp_path / "cache").exists()
    other = {**rows, "test": [{**row, "question": "who ?"} for row in rows["test"]]}
    changed = evaluate_task(make_lm(make_adapted(seed=0)), "mmlu", "virology", other)
    assert [row["response"] for row in changed.rows] != responses[0]


def test_the_names_are_the_harnesss_own() -> None:
    assert len(task_names("mmlu", None)) == 57
    assert len(task_names("bbh", None)) == 27
    assert task_names("mmlu", ("virology", "anatomy")) == ("anatomy", "virology")
    with pytest.raises(ConfigError, match=r"suite=bbh, got 'snark'. Did you mean 'snarks'\?"):
        task_names("bbh", ("snark",))


@pytest.mark.skipif(not (REAL_DATA / "mmlu").is_dir(), reason="no real data beside the repository")
@pytest.mark.parametrize(("suite", "count"), [("mmlu", 14042), ("bbh", 6511)])
def test_the_real_files_hold_all_tasks(suite: str, count: int) -> None:
    rows = local_rows(str(REAL_DATA), suite)
    names = task_names(suite, None)
    assert set(rows) == set(names)
    check_tasks(rows, names, SHOTS[suite] if suite == "mmlu" else 0)
    assert sum(len(part["test"]) for part in rows.values()) == count
