"""Rows from the Hub, tried offline: a local folder stands in place of the data set."""

import json
import shutil

import pytest
from datasets import load_dataset

from pedro_bench.errors import DataError
from pedro_bench.instruct import request
from pedro_bench.instruct.hub_rows import hub_questions, hub_rows
from pedro_bench.instruct.questions import Question

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
    monkeypatch.setattr("pedro_bench.hub._silence", lambda *given: asked.append(given) or "silence")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: {})
    monkeypatch.setitem(request.HUB, "bbh", ("nobody/has-this", COMMIT))
    assert set(hub_rows("bbh", COMMIT, ("snarks", "navigate"))) == {"snarks", "navigate"}
    assert asked == [("dataset", "nobody/has-this", COMMIT)]
