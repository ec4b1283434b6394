"""The Java programs of E2E's metrics, played by scripts: what is found, what is answered, what fails."""

import os
import time
from pathlib import Path

import pytest

from pedro_bench.cli.hydra.compose import configuration_of
from pedro_bench.cli.score import score
from pedro_bench.errors import ConfigError
from pedro_bench.metrics import caption_programs
from pedro_bench.metrics.caption_programs import meteor_15, programs
from pedro_bench.protocols.settings import build_group
from pedro_bench.tasks import data_to_text

VERSION = """[ "$1" = -version ] && { echo 'openjdk version "21.0.1" 2023' >&2; exit 0; }\n"""
COUNTED = (
    """
10 12 3 5 5 5 1 1 0 0 0 0 1 1 0 0 1 1 2 3 3 10 11
9 12 1 2 6 6 0 0 0 0 0 0 1 1 0 0 0 0 0 0 4 7 7
12 17 7 9 3 3 4 4 0 0 0 0 0 0 1 1 0 0 0 0 3 8 8
5 17 2 8 2 2 2 2 0 0 0 0 0 0 0 0 1 1 0 1 2 5 6
6 6 1 1 5 5 1 1 0 0 0 0 0 0 0 0 0 0 0 0 1 6 6
4 14 3 8 1 1 3 3 0 0 0 0 0 0 0 0 0 0 0 0 3 4 4
13 15 6 6 3 3 2 2 0 0 0 0 0 0 0 0 0 0 0 0 4 5 5
0 13 0 7 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
20 16 7 4 8 8 1 1 0 0 0 0 2 2 0 0 0 2 1 0 7 12 13
9 9 3 2 5 5 1 1 0 0 0 0 1 1 0 0 0 1 2 1 1 9 9
13 13 3 4 7 7 2 2 0 0 0 0 0 0 0 0 0 0 0 0 6 9 9
10 9 4 3 6 6 2 2 0 0 0 0 0 0 0 0 0 0 0 0 3 8 8
""".strip()
    .replace("\n", ".0\n")
    .replace(" ", ".0 ")
)
"""What METEOR 1.5 counts in tests/data/captions.json."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the programs' files."""
    monkeypatch.setattr(caption_programs, "PACKAGE", "pycocoevalcap")
    site = tmp_path / "site"
    for name in caption_programs._FILES:
        file = site / "pycocoevalcap" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    info = site / "pycocoevalcap-9.8.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pycocoevalcap\nVersion: 9.8\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return site / "pycocoevalcap"


@pytest.fixture
def java(tmp_path, package):
    """A function that puts a script in Java's place."""

    def install(script, start=VERSION):
        path = tmp_path / "bin" / "java"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{start}{script}\n")
        path.chmod(0o755)

    return install


def build_task(name):
    return build_group("task", configuration_of([f"task={name}"])["task"])


def refused(call, *words):
    with pytest.raises(ConfigError) as caught:
        call()
    told = str(caught.value)
    assert "\n" not in told
    assert all(word in told for word in (*words, "METEOR (exact, stem)")), told


def test_both_are_found_with_their_versions(java, package):
    java("cat")
    found = programs()
    assert (found.version, found.runtime, found.folder) == ("9.8", "21.0.1", package)


def test_without_java_or_the_package_there_are_none(java, monkeypatch, tmp_path):
    java("cat")
    monkeypatch.setattr(caption_programs, "PACKAGE", "not-installed")
    assert programs() is None
    monkeypatch.setattr(caption_programs, "PACKAGE", "pycocoevalcap")
    assert programs() is not None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert programs() is None


@pytest.mark.parametrize("name", caption_programs._FILES)
def test_a_package_without_its_files_is_named(java, package, name):
    java("cat")
    (package / name).unlink()
    with pytest.raises(ConfigError, match=rf"pycocoevalcap must hold {name}, got none in .*again"):
        programs()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("echo no runtime present >&2; exit 1\n", ("exit code 1", "(no runtime present)")),
        ("kill -9 $$\n", ("exit code -9",)),
        ("exit 127\n", ("exit code 127",)),
    ],
)
def test_a_java_that_does_not_start_is_told(java, start, words):
    java("", start)
    refused(programs, "Java must run", *words)


def test_a_java_that_is_no_program_is_told(java, tmp_path):
    java("")
    (tmp_path / "bin" / "java").write_bytes(b"\x00\x01")
    refused(programs, "Java must start", "Exec format error")


def test_every_line_has_one_answer_whatever_it_holds(java):
    java("cat")
    texts = ["a\nb\u2028c", "", "d . - '", "-lrb- e -LRB- \ud83d"]
    assert programs().words(texts) == [["a", "b", "c"], [], ["d"], ["-lrb-", "e"]]
    assert programs().words([]) == []


def test_meteor_is_that_of_the_counts(java, tmp_path):
    """METEOR 1.5 gives 0.29739281488489816 for these counts."""
    (tmp_path / "counts").write_text(COUNTED + ".0\n")
    java(f"cat > {tmp_path}/asked; cat {tmp_path}/counts")
    outputs, references = (
        [["a"], ["b", "|||"]] + [["c"]] * 10,
        [[["d"], ["e", "f"]]] + [[["g"]]] * 11,
    )
    assert meteor_15(programs(), outputs, references) == pytest.approx(
        29.739281488489816, rel=1e-12
    )
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[:2] == ["SCORE ||| d ||| e f ||| a", "SCORE ||| g ||| b "]


@pytest.mark.parametrize("answer", ["Error: specify SCORE", "1.0 2.0", "x " * 23, "NaN " * 23])
def test_answers_that_are_no_counts_are_told(java, answer):
    java(f"cat > /dev/null; echo '{answer}'")
    refused(lambda: meteor_15(programs(), [["a"]], [[["a"]]]), "23 counts", answer.split()[0])


@pytest.mark.parametrize("script", ["exit 0", "head -n 1", "cat; echo more"])
def test_too_few_and_too_many_answers_are_told(java, script):
    java(script)
    refused(lambda: programs().words(["a", "b", "c"]), "each of 3 lines")


def test_a_program_that_fails_is_told_with_its_last_words(java):
    java("cat > /dev/null; echo java.lang.OutOfMemoryError >&2; exit 3")
    refused(lambda: programs().words(["a"]), "PTB tokenizer must run", "exit code 3", "OutOfMemory")


def test_a_program_that_hangs_is_ended_with_all_its_processes(java, monkeypatch, tmp_path):
    monkeypatch.setattr(caption_programs, "TIME_LIMIT_S", 1)
    java(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    started = time.monotonic()
    refused(lambda: programs().words(["a"] * 100_000), "must end within 1 seconds")
    assert time.monotonic() - started < 30
    state = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    for _ in range(100):
        if not state.exists() or " Z " in state.read_text():
            return
        time.sleep(0.1)
    pytest.fail("a process of the program is still there")


def test_the_task_names_what_it_scored_with(java, tmp_path):
    java("cat")
    task = build_task("e2e")
    examples = [
        task.example({"mr": mr, "ref": ref})
        for mr, ref in (("a", "A , one ."), ("b", "B, two."), ("c", "C is three ."))
    ]
    how, written = task.scoring_notes(examples)
    assert [one.__name__ for one in task.metric_functions][2] == "meteor_15"
    assert "METEOR 1.5" in how and "(pycocoevalcap 9.8, Java 21.0.1)" in how
    assert written.startswith("2 of 3 references are tokenised")
    (tmp_path / "counts").write_text("\n".join(COUNTED.split("\n")[:3]) + "\n")
    java(f"case $* in *-stdio*) cat > /dev/null; cat {tmp_path}/counts;; *) cat;; esac")
    scores = task.score(["A , one .", "B , two .", "C"], examples)
    assert set(scores) == {"bleu", "nist", "meteor_1.5", "rouge_l", "cider"}


def test_without_the_programs_the_name_is_another():
    task = build_task("e2e")
    examples = [task.example({"mr": "a", "ref": "A is one."})]
    assert set(task.score(["A"], examples)) == {
        "bleu",
        "nist",
        "meteor_exact_stem",
        "rouge_l",
        "cider",
    }
    assert [one.__name__ for one in task.metric_functions][2] == "meteor_exact_stem"
    how, written = task.scoring_notes(examples)
    assert "exact and stem matches" in how and "is not there" in how
    assert written.startswith("0 of 1 references are tokenised")


def test_a_broken_java_is_told_before_anything_is_scored(java, tmp_path, monkeypatch):
    monkeypatch.setattr(data_to_text, "bleu", lambda *_: pytest.fail("scored"))
    java("", "exit 5\n")
    refused(
        lambda: build_task("e2e").score(["a"], [build_task("e2e").example({"mr": "a", "ref": "A"})])
    )
    for split in ("train", "valid", "test"):
        file = tmp_path / "data" / "e2e" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{split}||A {split} .\n")
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"index": 0, "prediction": "A ."}\n')
    source = ["data=files", f"data.root={tmp_path / 'data'}"]
    refused(lambda: score(["task=e2e", *source, f"predictions={path}"]), "exit code 5")
