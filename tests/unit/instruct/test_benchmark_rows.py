"""Local files of MMLU and BBH: the official forms are read alike, broken ones named by line and field."""

import json
import re
import shutil

import pytest
from datasets import load_dataset

from pedro_bench.errors import DataError
from pedro_bench.instruct import request
from pedro_bench.instruct.benchmark_rows import check_tasks, hub_rows, local_rows
from pedro_bench.instruct.questions import Question, hub_questions

ROW = {"subject": "anatomy", "question": "who ?", "choices": ["a", "b", "c", "d"], "label": 2}


def write(folder, rows, name="test.jsonl"):
    place = folder / "mmlu"
    place.mkdir(exist_ok=True)
    (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_forms_of_mmlu_are_read_alike(tmp_path):
    for name in ("lines", "original", "letters"):
        (tmp_path / name).mkdir()
    rows = local_rows(str(write(tmp_path / "lines", [ROW])), "mmlu")
    letters = {**ROW, "answer": "C"}
    del letters["label"]
    assert local_rows(str(write(tmp_path / "letters", [letters])), "mmlu") == rows
    folder = tmp_path / "original" / "mmlu" / "test"
    folder.mkdir(parents=True)
    (folder / "anatomy_test.csv").write_text("who ?,a,b,c,d,C\n")
    assert local_rows(str(tmp_path / "original"), "mmlu") == rows
    expected = {"question": "who ?", "choices": ["a", "b", "c", "d"], "answer": 2}
    assert rows == {"anatomy": {"test": [expected]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "field 'question' must be a text, got ' '"),
        ({"choices": ["a", "b", "c"]}, "field 'choices' must be four texts, got ['a', 'b', 'c']"),
        ({"choices": ["a", "b", "c", 4]}, "field 'choices' must be four texts"),
        (
            {"label": 4},
            "field 'answer' must be a letter from A to D or a number from 0 to 3, got 4",
        ),
        ({"label": True}, "number from 0 to 3, got True"),
        ({"label": "AB"}, "number from 0 to 3, got 'AB'"),
        ({"subject": None}, "field 'subject' must be a text, got None"),
        ({"question": "a \ud83d"}, "field 'question' must be text that UTF-8 can encode"),
        ({"choices": ["a", "b", "c", "\ud83d"]}, "field 'choices[3]' must be text that UTF-8 can"),
    ],
)
def test_a_bad_mmlu_row_is_named(tmp_path, change, message):
    folder = write(tmp_path, [ROW, {**ROW, **change}])
    with pytest.raises(DataError, match="test.jsonl:2: .*" + re.escape(message)):
        local_rows(str(folder), "mmlu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who ?,a,b,c,C\n", r"_test.csv:1 must have six columns .*, got 5"),
        ('who ?,a,b,c,d,C\n"open', r"must be a CSV file in UTF-8, got unexpected end of data"),
        ("who ?,a,b,c,d,E\n", r"_test.csv:1: field 'answer' must be a letter .* got 'E'"),
    ],
)
def test_a_bad_csv_is_named(tmp_path, text, message):
    folder = tmp_path / "mmlu" / "test"
    folder.mkdir(parents=True)
    (folder / "anatomy_test.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        local_rows(str(tmp_path), "mmlu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"snarks.json must be one JSON document"),
        ("[]", r"field 'examples' must be a list of rows"),
        ('{"examples": []}', r"field 'examples' must be a list of rows, at least one"),
        ('{"examples": [{"input": "a"}]}', r"row 1: field 'target' must be a text, got None"),
        ('{"examples": ["a"]}', r"row 1 must be an object with input and target, got 'a'"),
        (
            '{"examples": [{"input": "a \\ud83d", "target": "b"}]}',
            r"row 1: field 'input' must be text",
        ),
    ],
)
def test_a_bad_bbh_file_is_named(tmp_path, text, message):
    (tmp_path / "bbh").mkdir()
    (tmp_path / "bbh" / "snarks.json").write_text(text)
    with pytest.raises(DataError, match=message):
        local_rows(str(tmp_path), "bbh")


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("other", ["test.json", "test.parquet", "test/anatomy_test.csv"])
def test_two_files_of_one_split_are_refused(tmp_path, other, split):
    place = write(tmp_path, [ROW], f"{split}.jsonl") / "mmlu" / other.replace("test", split)
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    got = f"{place.name}, {split}.jsonl" if place.suffix == ".json" else f"{split}.jsonl, "
    message = rf"mmlu must hold one {split} file or the folder {split}/, got {got}.*: move away"
    with pytest.raises(DataError, match=message):
        local_rows(str(tmp_path), "mmlu")


def test_splits_may_have_different_forms(tmp_path):
    folder = write(tmp_path, [ROW]) / "mmlu" / "dev"
    folder.mkdir()
    (folder / "anatomy_dev.csv").write_text("who ?,a,b,c,d,C\n")
    (tmp_path / "mmlu" / "test.csv").write_text("cells cannot hold the list of choices\n")
    rows = local_rows(str(tmp_path), "mmlu")
    assert {split: len(found) for split, found in rows["anatomy"].items()} == {"dev": 1, "test": 1}


def test_absent_folders_files_and_tasks(tmp_path):
    (tmp_path / "mmlx").mkdir()
    with pytest.raises(DataError, match=r"must hold a folder 'mmlu' .*Did you mean 'mmlx'"):
        local_rows(str(tmp_path), "mmlu")
    (tmp_path / "file.py").touch()
    with pytest.raises(DataError, match=r"Known: mmlx\."):
        local_rows(str(tmp_path), "mmlu")
    (tmp_path / "mmlu").mkdir()
    with pytest.raises(DataError, match=r"must hold dev.jsonl and test.jsonl"):
        local_rows(str(tmp_path), "mmlu")
    rows = local_rows(str(write(tmp_path, [ROW])), "mmlu")
    with pytest.raises(DataError, match=r"all 2 tasks, got none of 'virology' \(1 absent\)"):
        check_tasks(rows, ("anatomy", "virology"), 0)
    with pytest.raises(DataError, match=r"5 dev rows of task 'anatomy' .*, got 0"):
        check_tasks(rows, ("anatomy",), 5)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_rows_come_through_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    row = {"question": "who ?", "choices": ["a", "b", "c", "d"], "answer": 2}
    folder = tmp_path / "mmlu" / "anatomy"
    folder.mkdir(parents=True)
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    configs = [
        {
            "config_name": "anatomy",
            "data_files": [
                {"split": split, "path": f"anatomy/{split}.jsonl"} for split in ("dev", "test")
            ],
        }
    ]
    (tmp_path / "mmlu" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    monkeypatch.setitem(request.HUB, "mmlu", (str(tmp_path / "mmlu"), COMMIT))
    assert hub_rows("mmlu", COMMIT, ("anatomy",)) == {"anatomy": {"dev": [row], "test": [row]}}
    with pytest.raises(
        DataError, match=r"\(virology\) at revision .*BuilderConfig.*: correct tasks"
    ):
        hub_rows("mmlu", COMMIT, ("virology",))


def write_prompts(place):
    """Write MT-Bench's prompts as the Hub has them, one row; return their folder."""
    folder = place / "prompts"
    folder.mkdir()
    row = {"prompt_id": 7, "category": "math", "prompt": ["1?", "2?"], "reference": ["1", "2"]}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_questions_come_through_datasets(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = write_prompts(tmp_path)
    monkeypatch.setitem(request.HUB, "mt_bench", (str(folder), None))
    assert hub_questions(COMMIT) == [Question(7, "math", ("1?", "2?"), ("1", "2"))]


def test_offline_is_one_sentence_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(request.HUB, "bbh", ("nobody/has-this", COMMIT))
    with pytest.raises(DataError, match=r"must be reachable or cached.*data=files") as caught:
        hub_rows("bbh", COMMIT, ("snarks",))
    assert "\n" not in str(caught.value)


def test_a_cached_copy_serves_offline_at_its_own_revision_only(tmp_path, monkeypatch):
    """As for training rows: `datasets` itself takes the newest copy, whatever revision was asked for."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = write_prompts(tmp_path)
    load_dataset(str(folder))
    (cached,) = (tmp_path / "cache").glob("prompts/default*/0.0.0/*/")
    place = tmp_path / "cache" / "nobody___prompts" / "default" / "0.0.0" / COMMIT
    place.parent.mkdir(parents=True)
    shutil.copytree(cached, place)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setitem(request.HUB, "mt_bench", ("nobody/prompts", None))
    assert [one.question_id for one in hub_questions(COMMIT)] == [7]

    other = COMMIT[::-1]
    with pytest.raises(
        DataError, match=rf"at revision {other} must be .* of revision {COMMIT}: .*data\.revision="
    ):
        hub_questions(other)


def test_the_hub_is_asked_once_for_all_tasks(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pedro_bench.hub._no_answer", lambda *given: asked.append(given) or "silence"
    )
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: {})
    monkeypatch.setitem(request.HUB, "bbh", ("nobody/has-this", COMMIT))
    assert set(hub_rows("bbh", COMMIT, ("snarks", "navigate"))) == {"snarks", "navigate"}
    assert asked == [("dataset", "nobody/has-this", COMMIT)]
