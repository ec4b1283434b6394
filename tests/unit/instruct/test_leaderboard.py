"""The leaderboard's benchmarks through the harness's own task files score as loops written here do."""

import json
from math import exp
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from pedro_bench.errors import DataError
from pedro_bench.instruct.leaderboard import LEADERBOARD
from pedro_bench.instruct.leaderboard_rows import (
    check_counts,
    check_row,
    hub_leaderboard,
    local_leaderboard,
)
from tests.tiny import WORDS
from tests.unit.analysis.runs import run


def word(at: int) -> str:
    return WORDS[at % len(WORDS)]


def arc(at: int) -> dict[str, Any]:
    texts = [word(at), f"{word(at + 5)} {word(at + 9)}", f"{word(at + 2)} the red box"]
    choices = {"text": texts, "label": ["A", "B", "C"]}
    return {"id": str(at), "question": word(3 * at), "choices": choices, "answerKey": "ABC"[at % 3]}


def truthfulqa(at: int) -> dict[str, Any]:
    choices = [f"{word(at)} cat", word(at + 3), f"in {word(at + 7)}"]
    targets = {"choices": choices, "labels": [1, at % 2, 0]}
    return {"question": f"where is {word(at)}", "mc2_targets": targets}


def winogrande(at: int) -> dict[str, Any]:
    sentence = f"the {word(at)} sat because _ was {word(at + 4)}"
    options = {"option1": word(at + 1), "option2": word(at + 11)}
    return {"sentence": sentence, **options, "answer": "12"[at % 2]}


def gsm8k(at: int) -> dict[str, Any]:
    return {"question": f"what is {word(at)}", "answer": f"the {word(at)} was good #### 1,{at:03d}"}


def hellaswag(at: int) -> dict[str, Any]:
    endings = [word(at), f"{word(at + 5)} not", f"[header] the {word(at + 1)} box", "good film it"]
    start = {"activity_label": word(at), "ctx_a": f"a {word(at + 2)} .", "ctx_b": word(at + 6)}
    return {**start, "endings": endings, "label": str(at % 4), "ind": at}


MADE = {
    "arc": arc,
    "truthfulqa": truthfulqa,
    "winogrande": winogrande,
    "gsm8k": gsm8k,
    "hellaswag": hellaswag,
}


def write(root: Path, suite: str, count: int = 6) -> None:
    own = LEADERBOARD[suite]
    (root / suite).mkdir(parents=True, exist_ok=True)
    for split in own.splits:
        many = range(40, 42 + own.shots) if split == "train" else range(count)
        lines = "".join(json.dumps(MADE[suite](at)) + "\n" for at in many)
        (root / suite / f"{split}.jsonl").write_text(lines)


def shown(suite: str, row: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """Contexts, continuations and the right one of a row, in our own words for the task's prompt."""
    if suite == "arc":
        texts = row["choices"]["text"]
        gold = row["choices"]["label"].index(row["answerKey"])
        return [f"Question: {row['question']}\nAnswer:"] * len(texts), texts, gold
    if suite == "winogrande":
        before, after = row["sentence"].split("_")
        contexts = [before + row[name] for name in ("option1", "option2")]
        return contexts, [after.strip()] * 2, int(row["answer"]) - 1
    query = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    texts = [one.removeprefix("[header] ") for one in row["endings"]]
    return [query] * len(texts), texts, int(row["label"])


@pytest.mark.parametrize("suite", ["arc", "winogrande", "hellaswag"])
def test_likeliest_answers_score_as_a_loop_does(
    suite: str, tmp_path: Path, make_adapted: Any
) -> None:
    pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")
    from pedro_bench.evaluation.likelihood import loglikelihood
    from pedro_bench.instruct.contexts import Contexts
    from pedro_bench.instruct.harness_model import AdaptedLM
    from pedro_bench.instruct.leaderboard_job import evaluate_leaderboard
    from pedro_bench.protocols.batch import Encoded

    write(tmp_path, suite)
    own, adapted = LEADERBOARD[suite], make_adapted(seed=2)
    splits = local_leaderboard(str(tmp_path), suite)
    contexts = Contexts(adapted.backbone.tokenizer, 256)
    score, rows = evaluate_leaderboard(AdaptedLM(adapted, contexts, batch_size=8), suite, splits)
    assert contexts.shortened == 0

    def ids(text: str) -> tuple[int, ...]:
        found = adapted.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tuple(found)

    drawn = Random(1234)
    scores = []
    for row, found in zip(splits[own.split], rows, strict=True):
        head = ""
        for example in drawn.sample(splits["train"], own.shots):
            before, after, gold = shown(suite, example)
            head += f"{before[gold]} {after[gold]}\n\n"
        before, after, gold = shown(suite, row)
        pairs = [
            Encoded((1, *ids(head + context)), ids(f" {text}"), 0)
            for context, text in zip(before, after, strict=True)
        ]
        expected = loglikelihood(adapted, pairs, batch_size=1)
        assert found["response"] == pytest.approx(expected, abs=1e-4)
        if own.metric == "acc_norm":
            expected = [one / len(text) for one, text in zip(expected, after, strict=True)]
        best = expected.index(max(expected))
        assert (found["prediction"], found["target"]) == (best, gold)
        assert found["score"] == 100.0 * (best == gold)
        scores.append(found["score"])
    assert score == pytest.approx(sum(scores) / len(scores))


class Prepared:
    """A model of the harness with prepared answers, which keeps the requests."""

    def __new__(cls, answers: list[Any]) -> Any:
        from lm_eval.api.model import LM

        class Answering(LM):  # type: ignore[misc]
            asked: list[Any] = []

            def loglikelihood(self, requests: Any) -> list[Any]:
                self.asked = [one.args for one in requests]
                return answers

            def generate_until(self, requests: Any) -> list[Any]:
                self.asked = [one.args for one in requests]
                return answers

            def loglikelihood_rolling(self, requests: Any) -> list[Any]:
                raise AssertionError

        return Answering()


def test_mc2_is_the_mass_of_the_true_answers(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")
    from pedro_bench.instruct.leaderboard_job import evaluate_leaderboard

    write(tmp_path, "truthfulqa", count=2)
    splits = local_leaderboard(str(tmp_path), "truthfulqa")
    model = Prepared([(one, False) for one in (-1.0, -2.0, -3.0, -2.5, -0.5, -4.0)])
    score, rows = evaluate_leaderboard(model, "truthfulqa", splits)
    first = exp(-1) / (exp(-1) + exp(-2) + exp(-3))
    second = (exp(-2.5) + exp(-0.5)) / (exp(-2.5) + exp(-0.5) + exp(-4))
    assert [one["score"] for one in rows] == pytest.approx([100 * first, 100 * second])
    assert score == pytest.approx(50 * (first + second))
    assert [(one["prediction"], one["target"]) for one in rows] == [(0, [0]), (1, [0, 1])]
    questions = [row["question"] for row in splits["validation"]]
    assert len(model.asked) == 6
    for at, (text, _) in enumerate(model.asked):
        assert text.endswith(f"Q: {questions[at // 3]}\nA:")
    assert model.asked[0][1] == f" {splits['validation'][0]['mc2_targets']['choices'][0]}"


def test_gsm8k_reads_the_number_behind_its_sign(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")
    from pedro_bench.instruct.leaderboard_job import evaluate_leaderboard

    write(tmp_path, "gsm8k", count=4)
    splits = local_leaderboard(str(tmp_path), "gsm8k")
    said = ["so #### 1,000", "so #### 1001.", "the answer is 1,002", "#### 7"]
    model = Prepared(said)
    score, rows = evaluate_leaderboard(model, "gsm8k", splits)
    assert [one["prediction"] for one in rows] == ["1,000", "1001.", "[invalid]", "7"]
    assert [one["target"] for one in rows] == ["1,000", "1,001", "1,002", "1,003"]
    assert [one["score"] for one in rows] == [100.0, 100.0, 0.0, 0.0]
    assert [one["response"] for one in rows] == said
    assert score == 50.0
    context, settings = model.asked[0]
    assert context.count("Question: ") == 6
    assert context.count("#### ") == 5
    assert context.endswith("Question: what is yes\nAnswer:")
    assert settings["do_sample"] is False


def test_the_settings_are_those_of_reds_table_17() -> None:
    found = {suite: (one.shots, one.metric) for suite, one in LEADERBOARD.items()}
    assert found == {
        "arc": (25, "acc_norm"),
        "truthfulqa": (0, "mc2"),
        "winogrande": (5, "acc"),
        "gsm8k": (5, "acc"),
        "hellaswag": (10, "acc_norm"),
    }


@pytest.mark.parametrize(
    ("suite", "changes", "message"),
    [
        ("arc", {"answerKey": "D"}, "field 'answerKey' must be one of A, B, C, got 'D'"),
        ("arc", {"choices": {"text": ["a"], "label": ["A"]}}, "field 'text' must be texts, two at"),
        (
            "arc",
            {"choices": {"text": ["a", "b"], "label": ["A", "B", "C"]}},
            "field 'choices' must have a label for each text, got 3 for 2",
        ),
        (
            "truthfulqa",
            {"mc2_targets": None},
            "field 'choices' must be texts, two at least, got None",
        ),
        (
            "truthfulqa",
            {"mc2_targets": {"choices": ["a", "b"], "labels": [0, 0]}},
            r"field 'labels' must be 1 for each true .*, got \[0, 0\]",
        ),
        (
            "winogrande",
            {"sentence": "no gap"},
            "field 'sentence' must have one gap '_', got 'no gap'",
        ),
        ("winogrande", {"answer": ""}, "field 'answer' must be one of 1, 2, got ''"),
        ("gsm8k", {"answer": "12"}, "field 'answer' must end with '#### <number>', got '12'"),
        ("hellaswag", {"label": ""}, "field 'label' must be one of 0, 1, 2, 3, got ''"),
        ("hellaswag", {"ctx_a": 3}, "field 'ctx_a' must be a text, got 3"),
    ],
)
def test_a_malformed_row_is_told_with_its_place(
    suite: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f"here: {message}"):
        check_row(suite, {**MADE[suite](3), **changes}, "here")


def test_what_is_missing_is_told_with_the_remedy(tmp_path: Path) -> None:
    write(tmp_path, "arc")
    (tmp_path / "arc" / "test.jsonl").rename(tmp_path / "arc" / "other.jsonl")
    with pytest.raises(DataError, match=r"must hold one test file, .*got none: fetch .*data=hub"):
        local_leaderboard(str(tmp_path), "arc")
    with pytest.raises(DataError, match=r"25 train rows to show before each question, got 1\."):
        check_counts("arc", {"train": [arc(0)], "test": [arc(1)]})
    with pytest.raises(DataError, match=r"suite=gsm8k must hold test rows, got none"):
        check_counts("gsm8k", {"train": [gsm8k(0)] * 5, "test": []})


@pytest.mark.parametrize("suite", LEADERBOARD)
def test_without_the_hub_one_sentence_names_data_set_and_remedy(
    suite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    own = LEADERBOARD[suite]
    with pytest.raises(DataError) as caught:
        hub_leaderboard(suite, own.revision)
    told = (
        f"{own.hub_id} ({own.hub_config or 'default'}) at revision {own.revision} must be reachable"
    )
    assert str(caught.value).startswith(f"{told} or cached, got HF_HUB_OFFLINE: use data=files")
    assert "\n" not in str(caught.value)


def test_the_command_writes_a_record_and_does_not_make_it_again(
    tmp_path: Path, make_adapted: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """All but the reading of an adapter, which the tests of other suites have."""
    pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")
    from pedro_bench.cli.command import guarded
    from pedro_bench.cli.instruct import instruct

    write(tmp_path, "hellaswag")
    made = run(tmp_path / "results", groups={"evaluation": {"batch_size": 4}})
    adapted = make_adapted(seed=3)
    saved = SimpleNamespace(adapted=adapted, tokenizer=adapted.backbone.tokenizer)
    monkeypatch.setattr("pedro_bench.instruct.benchmarks.load", lambda path, device: saved)
    arguments = [f"run={made}", "suite=hellaswag", f"data.root={tmp_path}", "output=json", "limit=4",
                 f"results_dir={tmp_path / 'results'}", f"output_dir={tmp_path / 'outputs'}"]  # fmt: skip
    code = guarded(instruct, arguments)
    out, err = capsys.readouterr()
    assert code == 0, err
    found = json.loads(out)
    record = Path(found["record"])
    content = json.loads(record.read_text())
    assert record.parent == tmp_path / "results" / "instruct" / "hellaswag"
    assert found["parts"] == {"hellaswag": {**found["metrics"], "rows": 4}}
    kept = {
        "task": "hellaswag",
        "metric": "acc_norm",
        "shots": 10,
        "fewshot_seed": 1234,
        "limit": 4,
    }
    assert kept.items() <= content["config"].items()
    lines = (record.parent / content["files"]["predictions"]["path"]).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    right = []
    for at, row in enumerate(rows):
        texts = [one.removeprefix("[header] ") for one in hellaswag(at)["endings"]]
        each = [one / len(text) for one, text in zip(row["response"], texts, strict=True)]
        right.append(each.index(max(each)) == at % 4)
        assert (row["index"], row["score"]) == (at, 100.0 * right[-1])
    assert found["metrics"] == {"acc_norm": pytest.approx(100 * sum(right) / 4)}
    assert not [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    monkeypatch.setattr("pedro_bench.instruct.benchmarks.load", None)
    before = record.stat().st_mtime_ns
    assert guarded(instruct, arguments) == 0
    assert (capsys.readouterr().out, record.stat().st_mtime_ns) == (out, before)
