"""A record says where the tokenizer could not read control tokens in data as text."""

import json
from pathlib import Path

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.text_tokens import TextTokens
from pedro_bench.grid import run


@pytest.mark.parametrize(("misread", "told"), [((), 0), (("<|end|>",), 4)])
def test_the_record_tells_how_many_examples_were_misread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misread: tuple[str, ...], told: int
) -> None:
    folder = tmp_path / "sst2"
    folder.mkdir()
    for split, size, odd in (("train", 16, 4), ("validation", 8, 0)):
        rows = [
            {"sentence": f"{split} {n}{' <|end|>' * (n < odd)}", "label": n % 2}
            for n in range(size)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(TextTokens, "misread", lambda _: misread)
    settings = settings_of(
        [
            *("task=sst2", "data=files", f"data.root={tmp_path}", "method=bitfit", "seeds=[0]"),
            *("trainer.max_steps=1", "evaluation.num_beams=1", "task.max_new_tokens=2"),
            *(f"results_dir={tmp_path}/results", f"output_dir={tmp_path}/outputs"),
        ]
    )
    (record,) = run(settings)
    assert record["status"] == "finished"
    notes = [note for note in record["notes"] if "written form of a control token" in note]
    assert sum(int(note.split(" ", 1)[0]) for note in notes) == told
