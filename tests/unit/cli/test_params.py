"""The ledger of the paper's section on budgets, from configurations alone."""

import json

import pytest

from pedro_bench.cli.command import guarded
from pedro_bench.cli.params import params


def ledger(capsys, *arguments):
    assert params([*arguments, "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found, {row["method"]: (row["matrices"], row["trainable"]) for row in found["methods"]}


def test_the_papers_ledger_on_llama2_7b(capsys):
    found, counts = ledger(capsys, "backbone=llama2_7b")
    assert found["backbone"] == "llama2_7b"
    assert {row["total"] for row in found["methods"]} == {6_738_415_616}
    expected = {
        "pedro": (8_945_664, 9_560_448),
        "pedro_3": (9_830_400, 10_928_512),
        "pedro_4": (9_437_184, 9_699_712),
        "lora": (9_994_240, 9_994_240),
        "ia3": (9_830_400, 9_831_936),
        "full_ft": (6_738_415_616, 6_738_415_616),
    }
    assert {name: counts[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [("llama2_13b", (14_008_320, 14_971_360)), ("gemma_2b", (4_478_976, 4_815_576))],
)
def test_pedro_on_other_backbones(capsys, backbone, expected):
    _, counts = ledger(capsys, f"backbone={backbone}", "method=pedro")
    assert counts == {"pedro": expected}


def test_a_setting_and_several_methods(capsys):
    _, counts = ledger(capsys, "backbone=llama2_7b", "method=pedro,lora", "method.r=16")
    assert counts["lora"] == (4 * 9_994_240, 4 * 9_994_240)
    assert set(counts) == {"pedro", "lora"}
    _, alone = ledger(capsys, "backbone=llama2_7b", "method.r=24")
    assert set(alone) == {"pedro"}


def test_for_people(capsys):
    assert params(["backbone=llama2_7b", "method=pedro"]) == 0
    assert "9,560,448" in capsys.readouterr().out


def test_unknown_method(capsys):
    assert guarded(params, ["method=lorra"]) == 2
    assert "got 'lorra'. Did you mean 'lora'?" in capsys.readouterr().err
