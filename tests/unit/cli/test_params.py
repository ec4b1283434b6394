"""The ledger of the paper's section on budgets, from configurations alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pedro_bench.analysis.papers import published_parameters
from pedro_bench.cli.command import guarded
from pedro_bench.cli.options import options
from pedro_bench.cli.params import params

REPOSITORY = Path(__file__).resolve().parents[3]

LLAMA2_7B = {
    "pedro": (8_945_664, 9_560_448),
    "pedro_3": (9_830_400, 10_928_512),
    "pedro_4": (9_437_184, 9_699_712),
    "lora": (9_994_240, 9_994_240),
    "adalora": (9_994_240, 19_990_272),
    "bitfit": (10_878_976, 10_880_768),
    "ia3": (9_830_400, 9_831_936),
    "houlsby_adapter": (9_437_184, 9_700_480),
    "lpt": (8_388_608, 8_393_728),
    "ptuning_v2": (16_777_216, 16_777_216),
    "red": (262_144, 262_144),
    "lora_red": (8_388_608, 8_388_608),
    "full_ft": (6_738_415_616, 6_738_415_616),
}
"""Matrices and all trainable parameters, worked out by hand from the papers' settings."""

DISAGREEING = {"ptuning_v2"}
"""Methods whose published number is not that of their published setting."""

PUBLISHED = {one.method for one in published_parameters()}

RED_COUNTS = {
    "roberta_base": {
        ("red", "1"): 12 * 2 * 768,  # 0.02M
        ("houlsby_adapter", "1"): 24 * (2 * 8 * 768 + 8 + 768),  # 0.4M
        ("adapter_ffn", "1"): 12 * (2 * 16 * 768 + 16 + 768),  # 0.3M
        ("lora_red_roberta", "1"): 12 * 2 * 2 * 8 * 768,  # 0.3M
        ("bitfit", "1"): 12 * (5 * 768 + 3072),  # 0.1M
    },
    "roberta_large": {
        ("red", "1"): 24 * 2 * 1024,  # 0.05M
        ("houlsby_adapter", "1"): 48 * (2 * 8 * 1024 + 8 + 1024),  # 0.9M
        ("adapter_ffn", "1"): 24 * (2 * 16 * 1024 + 16 + 1024),  # 0.8M
        ("lora_red_roberta", "1"): 24 * 2 * 2 * 8 * 1024,  # 0.8M
    },
    "gpt2_medium": {
        ("red", "2"): 24 * 2 * 1024,  # 0.05M
        ("ft_top2", "2"): 2 * (12 * 1024**2 + 13 * 1024),  # 25.2M
        ("houlsby_adapter", "2"): 48 * (2 * 8 * 1024 + 8 + 1024),  # 0.9M
        ("lora_red_gpt2", "2"): 24 * 3 * 2 * 8 * 1024,  # theirs: 24 * 8 * (1024 + 3072), 0.8M
        ("prefix_tuning", "2"): 24 * 2 * 16 * 1024,  # 0.8M
        ("houlsby_adapter", "5"): 48 * (2 * 1024 + 1 + 1024),  # theirs with normalisations, 0.25M
        ("adapter_ffn", "5"): 24 * (2 * 1024 + 1 + 1024),  # 0.07M
        ("lora_red_gpt2", "5"): 24 * 3 * 2 * 1024,  # 0.1M
    },
    "gpt2_large": {
        ("red", "2"): 36 * 2 * 1280,  # 0.09M
        ("houlsby_adapter", "2"): 72
        * (2 * 8 * 1280 + 8 + 1280),  # theirs with normalisations, 1.8M
        ("adapter_ffn", "2"): 36 * (2 * 16 * 1280 + 16 + 1280),  # 1.5M
    },
    "t5_base": {
        ("red", "3"): 24 * 2 * 768,  # 0.04M
        ("houlsby_adapter", "3"): 48 * (2 * 24 * 768 + 24 + 768),  # 1.9M
        ("adapterdrop", "3"): 28 * (2 * 24 * 768 + 24 + 768),  # 1.1M
        ("bitfit", "3"): 24 * (5 * 768 + 3072),  # theirs with cross-attention, 0.3M
        ("prompt_tuning", "3"): 100 * 768,  # 0.08M
    },
}
"""Backbone -> (method, RED's table) -> what RED's setting trains here, from the shapes by hand."""

RED_DISAGREEING = {
    "roberta_base": set(),
    "roberta_large": set(),
    "gpt2_medium": {("lora_red_gpt2", "2"), ("houlsby_adapter", "5")},
    "gpt2_large": {("houlsby_adapter", "2"), ("lora_red_gpt2", "2")},
    "t5_base": {("full_ft", "3"), ("bitfit", "3")},
}
"""Where RED's number is not that of its setting here; a note says why."""


def ledger(capsys, *arguments):
    assert params([*arguments, "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found, {row["method"]: (row["matrices"], row["trainable"]) for row in found["methods"]}


@pytest.mark.parametrize("name", LLAMA2_7B)
def test_the_papers_ledger_on_llama2_7b(capsys, name):
    if name not in options("method"):
        pytest.skip(f"there is no method {name}")
    found, counts = ledger(capsys, "backbone=llama2_7b", f"method={name}")
    assert found["backbone"] == "llama2_7b"
    assert found["methods"][0]["total"] == 6_738_415_616
    assert counts == {name: LLAMA2_7B[name]}


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("llama2_13b", (14_008_320, 14_971_360)), ("gemma_2b", (4_478_976, 4_815_576))],
)
def test_pedro_on_other_backbones(capsys, backbone, expected):
    found, counts = ledger(capsys, f"backbone={backbone}", "method=pedro")
    assert counts == {"pedro": expected}
    assert found["methods"][0]["published"] == []


def test_every_method_is_listed_in_the_papers_order(capsys):
    found, counts = ledger(capsys, "backbone=llama2_7b")
    assert set(counts) == set(options("method"))
    names = list(counts)
    table_1 = [name for name in ("full_ft", "ptuning_v2", "lora", "ia3", "pedro") if name in counts]
    assert [name for name in names if name in table_1] == table_1
    assert names.index("pedro") < names.index("pedro_1") < names.index("pedro_7")
    unpublished = [name for name in names if name not in PUBLISHED]
    assert names[len(names) - len(unpublished) :] == sorted(unpublished)
    assert set(found["missing"]) == PUBLISHED - set(names)


def test_published_numbers_stand_beside_ours_and_agree(capsys):
    found, _ = ledger(capsys, "backbone=llama2_7b")
    rows = {row["method"]: row for row in found["methods"]}
    assert rows["pedro"]["published"] == [
        {"params": "8.9M", "paper": "PEDRO", "table": "1", "setting": "r = 12", "note": ""}
    ]
    assert [one["params"] for one in rows["full_ft"]["published"]] == ["7B"]
    for one in published_parameters():
        if one.backbone == "llama2_7b" and one.method not in DISAGREEING:
            assert one.agrees(rows[one.method]["matrices"]), one
    assert {note.partition(":")[0] for note in found["notes"] if "which gives" in note} == (
        DISAGREEING & set(rows)
    )


@pytest.mark.parametrize("backbone", RED_COUNTS)
def test_reds_ledger_on_its_backbones(capsys, backbone):
    found, _ = ledger(capsys, f"backbone={backbone}")
    counts = {
        (row["method"], one["table"]): one.get("trainable", row["trainable"])
        for row in found["methods"]
        for one in row["published"]
    }
    assert {key: counts[key] for key in RED_COUNTS[backbone]} == RED_COUNTS[backbone]
    numbers = [one for one in published_parameters() if one.backbone == backbone]
    assert set(counts) == {(one.method, one.table) for one in numbers}
    differing = {
        (one.method, one.table) for one in numbers if not one.agrees(counts[one.method, one.table])
    }
    assert differing == RED_DISAGREEING[backbone]
    for method, table in differing:
        (told,) = [n for n in found["notes"] if n.startswith(f"{method}: RED, Table {table} has")]
        assert f"which gives {counts[method, table]:,}." in told
    noted = {one.method for one in numbers if one.note}
    assert {method for method, _ in differing} <= noted


def test_a_size_of_the_paper_stands_beside_its_number(capsys):
    assert params(["backbone=roberta_base", "method=houlsby_adapter"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.4M (RED, Table 1, r = 8: 313,536)" in printed
    assert "with both layer normalisations of each layer trained" in printed


def test_a_number_that_is_not_that_of_its_setting_is_told_with_the_size_that_gives_it(
    capsys, monkeypatch, tmp_path
):
    rows = ["pedro,llama2_7b,X,1,11.2M,r = 12,", "full_ft,llama2_7b,X,2,1B,,A remark."]
    file = tmp_path / "published.csv"
    file.write_text("\n".join(["method,backbone,paper,table,params,setting,note", *rows]))
    numbers = published_parameters(file)
    monkeypatch.setattr("pedro_bench.cli.params.published_parameters", lambda: numbers)
    found, _ = ledger(capsys, "backbone=llama2_7b")
    assert found["notes"] == [
        "full_ft: A remark.",
        "pedro: X, Table 1 has 11.2M for r = 12, which gives 8,945,664; r=15 gives 11,182,080.",
        "full_ft: X, Table 2 has 1B, which gives 6,738,415,616.",
    ]
    other, _ = ledger(capsys, "backbone=llama2_7b", "method=pedro", "method.r=3")
    assert other["notes"] == [], "the number belongs to another size"


def test_p_tunings_number_is_that_of_36_tokens(capsys):
    if "ptuning_v2" not in options("method"):
        pytest.skip("there is no method ptuning_v2")
    found, _ = ledger(capsys, "backbone=llama2_7b", "method=ptuning_v2")
    (note,) = found["notes"]
    assert "has 9.4M for 64 tokens in each layer, which gives 16,777,216" in note
    assert note.endswith("num_virtual_tokens=36 gives 9,437,184.")


def test_published_methods_without_a_yaml_are_named(capsys, monkeypatch, tmp_path):
    file = tmp_path / "published.csv"
    file.write_text(
        "method,backbone,paper,table,params,setting,note\n"
        "unheard_of,llama2_7b,X,1,1.5M,,\nunheard_of,gemma_2b,X,1,1.5M,,\n"
    )
    numbers = published_parameters(file)
    monkeypatch.setattr("pedro_bench.cli.params.published_parameters", lambda: numbers)
    found, counts = ledger(capsys, "backbone=llama2_7b")
    assert found["missing"] == ["unheard_of"]
    assert "unheard_of" not in counts
    assert params(["backbone=llama2_7b"]) == 0
    assert "not among the methods here: unheard_of." in capsys.readouterr().out
    named, _ = ledger(capsys, "backbone=llama2_7b", "method=lora")
    assert named["missing"] == []


def test_a_setting_and_several_methods(capsys):
    found, counts = ledger(capsys, "backbone=llama2_7b", "method=pedro,lora", "method.r=16")
    assert counts["lora"] == (4 * 9_994_240, 4 * 9_994_240)
    assert list(counts) == ["pedro", "lora"]
    assert [row["setting"]["r"] for row in found["methods"]] == [16, 16]
    _, alone = ledger(capsys, "backbone=llama2_7b", "method.r=24")
    assert set(alone) == {"pedro"}


def test_a_budget_sizes_every_method(capsys):
    found, counts = ledger(capsys, "backbone=llama2_7b", "budget=8.9e6")
    rows = {row["method"]: row for row in found["methods"]}
    assert set(rows) == set(options("method"))
    assert rows["pedro"]["size"] == {"field": "r", "value": 12}
    assert rows["ia3"]["size"] == {"field": "r", "value": 14}
    assert rows["ia3"]["off"] == counts["ia3"][0] - 8.9e6
    assert rows["full_ft"]["size"] is None
    assert rows["full_ft"]["off"] is None
    for row in rows.values():
        if row["size"] is not None:
            assert row["setting"][row["size"]["field"]] == row["size"]["value"]
    _, typed = ledger(capsys, "backbone=llama2_7b", "method=ia3", "method.r=14")
    assert typed["ia3"] == counts["ia3"]
    _, one = ledger(capsys, "backbone=llama2_7b", "method=ia3", "method.budget=8.9e6")
    assert one["ia3"] == counts["ia3"]


def test_a_method_that_refuses_the_budget_hides_no_other(capsys):
    if "ssp" not in options("method"):
        pytest.skip("there is no method with a budget of its own")
    found, counts = ledger(capsys, "backbone=micro", "budget=1")
    assert set(options("method")) - set(counts) == {"ssp"}
    assert any(note.startswith("ssp does not fit: method.budget must") for note in found["notes"])
    assert guarded(params, ["backbone=micro", "method=ssp", "budget=1"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=lorra"], "got 'lorra'. Did you mean 'lora'?"),
        (["budget=-1"], "budget must be a number above 0 or null, got -1."),
        (["budget=8.9M"], "budget must be a number above 0 or null, got '8.9M'."),
        (["budget=1e6", "method.r=3"], "a budget must stand in place of method.r, got both"),
        (["budget=1e6", "method.budget=3"], "must stand in place of method.budget, got both"),
        (["method=lora", "method.rr=3"], "method.rr must be a known key, got 'rr'"),
        (["output=xml"], "output must be one of the known words, got 'xml'"),
        (["backbone=llama2_7b,micro"], "backbone must have one value, got llama2_7b,micro"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert guarded(params, arguments) == 2
    assert message in capsys.readouterr().err


def test_for_people(capsys):
    assert params(["backbone=llama2_7b", "method=pedro,full_ft"]) == 0
    text = capsys.readouterr().out
    assert "9,560,448" in text
    assert "8.9M (PEDRO, Table 1)" in text
    assert params(["backbone=llama2_7b", "method=pedro,full_ft", "budget=8.9e6"]) == 0
    text = capsys.readouterr().out
    assert "+0.5%" in text
    assert "Without a setting that sizes them, as they are: full_ft." in text


def test_in_markdown(capsys):
    assert params(["backbone=gemma_2b", "method=ia3", "output=md"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Parameters trained on Gemma 2B, which has 2,506,172,416",
        "",
        "| method | setting | matrices | trainable | trainable % |",
        "| --- | --- | --: | --: | --: |",
        "| ia3 | r=16 | 4,866,048 | 4,866,912 | 0.194 |",
    ]


def test_no_torch_no_weights_and_soon(tmp_path):
    script = (
        "import sys, time; from pedro_bench.cli.params import params; start = time.process_time();"
        "params(['backbone=llama2_7b']); params(['backbone=llama2_7b', 'budget=8.9e6']);"
        "print(time.process_time() - start, [name for name in sys.modules if name in "
        "('torch', 'transformers', 'datasets', 'accelerate', 'numpy', 'pandas')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
    )
    seconds, _, imported = done.stdout.splitlines()[-1].partition(" ")
    assert imported == "[]"
    assert float(seconds) < 10, "two ledgers, each of at most five seconds"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "backbone=llama2_7b",
            "backbone must be left out with matrix=true, which tries tiny models",
        ),
        ("backbone.dtype=float32", "backbone.dtype must be left out with matrix=true"),
        ("budget=8.9e6", "matrix must be false with a budget, got budget=8900000.0"),
    ],
)
def test_a_matrix_is_of_all_families(given, message, capsys):
    assert guarded(params, ["matrix=true", given]) == 2
    assert message in capsys.readouterr().err
