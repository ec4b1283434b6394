"""`cli.score` on every task with closed or graded answers equals a computation from the raw files.

The files are small ones of our own in each task's official form; the expected values come from the
rows as written, not from the package's examples.
"""

import json
import random
import re
import string

import pytest
from scipy import stats

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.score import score
from pedro_bench.data.splits import load_splits

GAP = "no such answer"


def lay(root, task, rows):
    folder = root / task
    folder.mkdir()
    for name, part in rows.items():
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines)


def scored(root, capsys, task, predict):
    """Score predictions made from each test row's prompt; return metrics and prompts in order."""
    chosen = [f"task={task}", "data=files", f"data.root={root}"]
    settings = settings_of(chosen)
    prompts = [one.prompt for one in load_splits(settings.task, settings.data).test.examples]
    path = root / "predictions.jsonl"
    rows = [
        json.dumps({"index": at, "prediction": predict(at, text)})
        for at, text in enumerate(prompts)
    ]
    path.write_text("\n".join(rows))
    assert score([*chosen, f"predictions={path}", "output=json"]) == 0
    return json.loads(capsys.readouterr().out)["metrics"], prompts


def damaged(words):
    """A system that is right half of the time: answers by row number."""
    chance = random.Random(7)
    given = {}

    def predict(at, prompt):
        given[at] = chance.choice([*words, GAP])
        return given[at]

    return predict, given


PAIRS = {
    "cola": lambda n: {"sentence": f"text {n}.", "label": n * 7 % 3 % 2},
    "mrpc": lambda n: {"sentence1": f"text {n}.", "sentence2": "b", "label": n * 7 % 3 % 2},
}


@pytest.mark.parametrize("task", PAIRS)
def test_two_classes(tmp_path, capsys, task):
    make = PAIRS[task]
    lay(
        tmp_path,
        task,
        {"train": [make(n) for n in range(1000, 1010)], "dev": [make(n) for n in range(80)]},
    )
    predict, given = damaged(["yes", "no"])
    metrics, prompts = scored(tmp_path, capsys, task, predict)
    golds = [make(int(re.search(r"text (\d+)", text)[1]))["label"] for text in prompts]
    # an answer outside the label words counts for the other class
    classes = [{"yes": 1, "no": 0}.get(given[at], 1 - gold) for at, gold in enumerate(golds)]
    right = sum(one == gold for one, gold in zip(classes, golds, strict=True))
    outside = sum(word == GAP for word in given.values())
    assert metrics["acc"] == pytest.approx(100 * right / len(golds))
    assert metrics["invalid"] == pytest.approx(100 * outside / len(golds))
    if task == "cola":
        expected = stats.pearsonr(classes, golds).statistic
        assert metrics["matthews"] == pytest.approx(100 * expected)
    else:
        both = sum(one == gold == 1 for one, gold in zip(classes, golds, strict=True))
        precision, recall = both / sum(classes), both / sum(golds)
        expected = 2 * precision * recall / (precision + recall)
        assert metrics["f1"] == pytest.approx(100 * expected)


def test_similarity(tmp_path, capsys):
    def make(n):
        return {"sentence1": f"text {n}.", "sentence2": "b", "score": str(n * 37 % 51 / 10)}

    lay(
        tmp_path,
        "stsb",
        {"train": [make(n) for n in range(100, 108)], "dev": [make(n) for n in range(50)]},
    )
    chance, given = random.Random(5), {}

    def predict(at, prompt):
        given[at] = round(chance.uniform(0, 5), 1)
        return f"{given[at]}\nSentence"

    metrics, prompts = scored(tmp_path, capsys, "stsb", predict)
    golds = [float(make(int(re.search(r"text (\d+)", text)[1]))["score"]) for text in prompts]
    expected = stats.pearsonr(list(given.values()), golds).statistic
    assert metrics["pearson"] == pytest.approx(100 * expected)
    assert metrics["invalid"] == 0.0


def plain(text):
    bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def test_spans_with_several_golds(tmp_path, capsys):
    def make(n):
        golds = [f"the {n} red mills", f"red mills no. {n}"]
        return {"context": f"{golds[0]} and {golds[1]}", "question": f"what {n}?", "answers": golds}

    lay(
        tmp_path,
        "squad",
        {"train": [make(n) for n in range(100, 108)], "dev": [make(n) for n in range(20)]},
    )
    forms = ["{n} red mills", "Red mills.", "mills no {n}", "nothing"]
    metrics, prompts = scored(
        tmp_path,
        capsys,
        "squad",
        lambda at, text: forms[at % 4].format(n=re.search(r"what (\d+)", text)[1]),
    )
    f1, em = 0.0, 0
    for at, text in enumerate(prompts):
        n = re.search(r"what (\d+)", text)[1]
        words = plain(forms[at % 4].format(n=n))
        values = []
        for gold in map(plain, make(int(n))["answers"]):
            shared = len(set(words) & set(gold))
            values.append(2 * shared / (len(words) + len(gold)))
        f1 += max(values)
        em += words in list(map(plain, make(int(n))["answers"]))
    assert metrics["f1"] == pytest.approx(100 * f1 / 20)
    assert metrics["em"] == pytest.approx(100 * em / 20)
    assert metrics["f1_em"] == pytest.approx((metrics["f1"] + metrics["em"]) / 2)
