"""Experiments: their grids, what typed values leave of them, and what they need."""

import re
from typing import Any

import pytest

from pedro_bench.analysis.papers import layouts
from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import configuration_of
from pedro_bench.cli.hydra.sweep import _chosen, afterwards, combinations_of, refuse_grid
from pedro_bench.cli.options import conf_folder, options
from pedro_bench.cli.run import run
from pedro_bench.errors import ConfigError

PARTS = [
    {"method": ("pedro", "lora"), "method.r": ("3", "6")},
    {"method": ("full_ft",), "backbone.dtype": ("float32",)},
]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, PARTS),
        ({"task": ("boolq",)}, PARTS),
        ({"method": ("lora",)}, [{"method": ("lora",), "method.r": ("3", "6")}]),
        ({"method": ("full_ft",)}, [PARTS[1]]),
        ({"method": ("mine",)}, [{"method": ("mine",), "method.r": ("3", "6")}]),
        ({"method": ("mine", "full_ft")}, [{**PARTS[0], "method": ("mine",)}, PARTS[1]]),
        ({"method.r": ("24",)}, [{**PARTS[0], "method.r": ("24",)}, PARTS[1]]),
    ],
)
def test_a_typed_value_chooses_or_joins_the_first_part(typed, expected):
    assert _chosen(PARTS, typed) == expected


def test_every_experiment_says_how_it_is_run_and_which_suite_it_fills():
    for name in options("experiment"):
        text = (conf_folder() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
        assert re.search(
            rf"#   python -m pedro_bench(\.cli\.\w+| -m \+experiment={name}( .*)?\n)", text
        )
        assert re.search(rf"^suite: {name}$", text, flags=re.MULTILINE)
        of_another = set(re.findall(r"^  - (\w+)$", text, flags=re.MULTILINE))
        assert "task:" in text or "command:" in text or of_another & set(options("experiment"))


def test_every_table_has_its_experiment_and_its_methods():
    for name, layout in layouts().items():
        file = f"{layout.records or name}.yaml"
        text = (conf_folder() / "experiment" / file).read_text(encoding="utf-8")
        words = set(re.findall(r"[a-z0-9_]+", text))
        assert {method for group in layout.methods for method in group} <= words
        tasks = {task.removeprefix("generate_beam") for task, _ in layout.columns}
        assert {re.sub(r"_(turn[12]|final)$", "", task) for task in tasks} <= words
        assert set(layout.backbones) <= words


def test_the_micro_grid_of_table_4_is_composed():
    sweep = combinations_of(["+experiment=micro_table4", "method=pedro,pedro_5"])
    chosen = [(one.settings.task.name, one.settings.method.name) for one in sweep]
    assert chosen == [
        (task, method) for task in ("boolq", "squad") for method in ("pedro", "pedro_5")
    ]
    settings = sweep[0].settings
    assert (settings.suite, settings.backbone.name, settings.data.name, settings.trainer.name) == (
        "micro_table4",
        "micro",
        "micro",
        "micro",
    )
    assert settings.seeds == (0, 1, 2, 3, 4)
    assert "grid" not in settings.resolved_config


def test_parts_have_settings_of_their_own():
    sweeps = combinations_of(["+experiment=table1", "method=lora,full_ft", "task=boolq"])
    lora, full = sweeps
    assert (lora.settings.method.name, lora.settings.backbone.dtype) == ("lora", None)
    assert (full.settings.method.name, full.settings.backbone.dtype) == ("full_ft", "float32")
    assert full.settings.backbone.name == "llama2_7b"
    assert full.settings.trainer.name == "paper"
    assert "method=full_ft" in full.overrides


@pytest.mark.parametrize("name", ["red_table1", "red_table3"])
def test_reds_glue_is_split_by_reds_rule(name):
    sweep = combinations_of(
        [f"+experiment={name}", "backbone=llama2_7b", "method=red", "trainer.rates=null"]
    )
    rules = {one.settings.task.name: one.settings.task.split_rule for one in sweep}
    glue = ("mnli", "sst2", "mrpc", "cola", "qnli", "qqp", "rte", "stsb")
    assert rules == dict.fromkeys(glue, "from_validation")
    assert {one.settings.task.dev_rows for one in sweep} == {1000}


def test_figure_2_draws_a_run_on_the_rows_of_table_2():
    both = [
        combinations_of([f"+experiment={name}", "method=pedro"]) for name in ("figure2", "table2")
    ]
    drawn, judged = (sweep[0].settings.resolved_config for sweep in both)
    for group in ("data", "task", "backbone", "trainer"):
        assert drawn[group] == judged[group]
    assert drawn["data"]["holdout"] is None


def test_sizes_of_figure_3_differ_by_method():
    chosen = ["method=ia3", "method.r=4,256", "task=boolq"]
    sweep = combinations_of(["+experiment=micro_figure3", *chosen])
    assert [one.settings.method.r for one in sweep] == [4, 256]
    with pytest.raises(ConfigError, match="must leave something of experiment=micro_figure3"):
        combinations_of(["+experiment=micro_figure3", "method=ia3", "method.r=3"])


@pytest.mark.parametrize("name", ["figure3", "micro_figure3"])
def test_loras_scale_is_the_same_at_every_rank_of_figure_3(name):
    sweeps = combinations_of([f"+experiment={name}", "method=lora", "task=boolq"])
    methods = [one.settings.method for one in sweeps]
    assert [method.r for method in methods] == [1, 2, 4, 8, 16, 32, 64]
    assert {method.alpha / method.r for method in methods} == {2.0}


def methods_of(experiment: str, task: str) -> dict[str, Any]:
    """The methods of a grid of the RED paper, by name."""
    sweeps = combinations_of(
        [
            f"+experiment={experiment}",
            "backbone=micro",
            "data=micro",
            f"task={task}",
            "trainer.rates=null",
        ]
    )
    return {one.settings.method.name: one.settings.method for one in sweeps}


def test_reds_grids_have_reds_sizes():
    glue, e2e = methods_of("red_table1", "rte"), methods_of("red_table2", "rte")
    for grid in (glue, e2e):
        assert (grid["houlsby_adapter"].r, grid["adapter_ffn"].r) == (8, 16)
    assert glue["bitfit"].r is None
    assert (e2e["prefix_tuning"].num_virtual_tokens, e2e["prefix_tuning"].encoder_hidden_size) == (
        16,
        None,
    )
    assert methods_of("red_table3", "rte")["prompt_tuning"].num_virtual_tokens == 100
    llama = methods_of("red_table4", "rte")
    assert {name: method.lr for name, method in llama.items()} == {
        "full_ft": 2e-5,
        "lora_red": 3e-4,
        "red": 1e-3,
    }
    smallest = methods_of("red_table5", "rte")
    assert smallest["lora_red_gpt2"].alpha / smallest["lora_red_gpt2"].r == 32 / 8


def reds(experiment: str, *typed: str) -> dict[tuple[str, str, str], Any]:
    """(backbone, method, task) -> settings of a grid of the RED paper, its backbones of stand-in weights."""
    shown = {}
    for one in combinations_of([f"+experiment={experiment}", *typed]):
        settings = one.settings
        shown[settings.backbone.name, settings.method.name, settings.task.name] = settings
    return shown


@pytest.fixture
def reds_backbones(tmp_path, monkeypatch):
    """Options of the names of the RED paper's backbones, where this version has none."""
    from pedro_bench.cli import options

    folder = tmp_path / "conf" / "backbone"
    folder.mkdir(parents=True)
    for name in ("roberta_base", "roberta_large", "gpt2_medium", "gpt2_large", "t5_base"):
        if name not in options.options("backbone"):
            (folder / f"{name}.yaml").write_text(
                "_target_: pedro_bench.backbones.pretrained.Pretrained\n"
                f"name: {name}\nlabel: {name}\npath: package:micro_weights\n"
            )
    with options.outside_options(["--config-dir", str(folder.parent)] * any(folder.iterdir())):
        yield


@pytest.mark.usefixtures("reds_backbones")
def test_reds_grids_train_by_reds_tables():
    """Cells of its Tables 9 to 12, read from the paper one by one."""
    glue, wide = reds("red_table1", "task=mnli,mrpc,qqp,rte"), reds("red_table6")
    trainers = {key: one.trainer for key, one in glue.items()}
    rates = {key: one.method.lr for key, one in glue.items()}
    assert len(glue) == 4 * (6 + 5)
    assert rates["roberta_base", "red", "rte"] == 8e-3
    assert rates["roberta_base", "lora_red_roberta", "mrpc"] == 4e-4
    assert rates["roberta_base", "bitfit", "qqp"] == 1e-4
    assert rates["roberta_large", "full_ft", "qqp"] == 1e-5
    assert rates["roberta_large", "houlsby_adapter", "mnli"] == 3e-4
    assert ("roberta_large", "bitfit", "rte") not in glue
    alphas = [
        glue[name, "lora_red_roberta", "rte"].method.alpha
        for name in ("roberta_base", "roberta_large")
    ]
    assert alphas == [8, 16]
    assert {
        one.num_epochs
        for key, one in trainers.items()
        if key[0] == "roberta_base" and key[2] == "mrpc"
    } == {40}
    assert trainers["roberta_base", "full_ft", "rte"].weight_decay == 1e-4
    assert trainers["roberta_large", "full_ft", "rte"].weight_decay == 0.1
    assert trainers["roberta_large", "full_ft", "rte"].batch_size == 16
    assert trainers["roberta_large", "full_ft", "mrpc"].batch_size == 32
    own = trainers["roberta_large", "red", "rte"]
    assert (own.weight_decay, own.warmup_ratio, own.num_epochs, own.batch_size) == (
        1e-4,
        0.01,
        20,
        32,
    )
    assert trainers["roberta_large", "red", "mrpc"].warmup_ratio == 0.0
    assert wide["roberta_large", "red_no_bias", "mrpc"].method.lr == 2e-3
    for one in trainers.values():
        assert (one.eval_every_epochs, one.patience, one.max_length, one.rates) == (
            1,
            None,
            256,
            "red",
        )


@pytest.mark.usefixtures("reds_backbones")
def test_reds_grids_of_e2e_and_t5_train_by_reds_tables():
    e2e, t5 = reds("red_table2", "data=micro"), reds("red_table3", "task=cola,qnli")
    lora = e2e["gpt2_large", "lora_red_gpt2", "e2e"]
    assert (lora.method.lr, lora.trainer.weight_decay, lora.trainer.label_smoothing_factor) == (
        2e-4,
        0.01,
        0.1,
    )
    medium, large = (e2e[f"gpt2_{size}", "red", "e2e"] for size in ("medium", "large"))
    assert (medium.method.lr, medium.trainer.weight_decay, medium.trainer.num_epochs) == (
        6e-2,
        1e-4,
        5,
    )
    assert (large.method.lr, large.trainer.weight_decay, large.trainer.num_epochs) == (
        5e-5,
        0.0,
        10,
    )
    for one in e2e.values():
        trainer = one.trainer
        assert (trainer.batch_size, trainer.warmup_steps, trainer.eval_every_steps) == (
            10,
            500,
            500,
        )
        assert trainer.eval_every_epochs is None
        assert one.seeds == (0, 1, 2)
    assert [t5["t5_base", "red", task].method.lr for task in ("cola", "qnli")] == [4e-2, 2e-2]
    assert [t5["t5_base", "red", task].trainer.num_epochs for task in ("cola", "qnli")] == [60, 10]
    assert t5["t5_base", "red", "qnli"].trainer.warmup_ratio == 0.0


def test_reds_grids_decode_and_schedule_as_its_tables_11_and_13_say():
    here = ["backbone=micro", "data=micro", "task=rte", "trainer.rates=null"]
    own = ["trainer.label_smoothing_factor=0.1", "trainer.weight_decay=0.01"]
    for name, method in (("red_table2", "lora_red_gpt2"), ("red_table5", "red")):
        sweep = combinations_of([f"+experiment={name}", f"method={method}", *here, *own])
        (one,) = sweep
        decoding = one.settings.evaluation
        assert (decoding.num_beams, decoding.length_penalty) == (10, 0.9)
        assert decoding.no_repeat_ngram_size == 4
        trainer = one.settings.trainer
        assert (trainer.label_smoothing_factor, trainer.weight_decay) == (0.1, 0.01)
    sweep = combinations_of(["+experiment=red_table4", "method=red", *here])
    trainer = sweep[0].settings.trainer
    assert (trainer.lr_scheduler_type, trainer.warmup_ratio) == ("cosine", 0.1)
    assert (trainer.batch_size, trainer.max_length) == (128, 768)


def test_reds_code_splits_glue_by_size():
    sweep = combinations_of(
        [
            "+experiment=red_table3",
            "backbone=llama2_7b",
            "method=red",
            "task.split_rule=by_size",
            "trainer.rates=null",
        ]
    )
    rules = {one.settings.task.name: one.settings.task.division for one in sweep}
    large = dict.fromkeys(("mnli", "sst2", "qnli", "qqp"), "holdout")
    assert rules == large | dict.fromkeys(("mrpc", "cola", "rte", "stsb"), "halves")


def test_what_does_not_exist_here_is_named_in_one_sentence():
    with pytest.raises(ConfigError, match=r"experiment=red_table3 .*no backbone t5_none") as error:
        combinations_of(["+experiment=red_table3", "backbone=t5_none"])
    assert "\n" not in str(error.value)


def test_a_typed_option_stands_in_for_one_that_does_not_exist():
    sweeps = combinations_of(
        [
            "+experiment=red_table1",
            "backbone=micro",
            "data=micro",
            "task=rte,sst2",
            "trainer.rates=null",
        ]
    )
    chosen = [(one.settings.task.name, one.settings.method.name) for one in sweeps]
    assert chosen[0] == ("rte", "red")
    assert len(sweeps) == 2 * 6
    assert sweeps[0].overrides[:2] == ("backbone=micro", "task=rte")


def test_an_experiment_of_another_command_names_it():
    with pytest.raises(ConfigError, match=r"made by python -m pedro_bench\.cli\.efficiency backb"):
        combinations_of(["+experiment=table3"])
    with pytest.raises(ConfigError, match="measures and trains nothing"):
        refuse_grid(["+experiment=table3"])


@pytest.mark.parametrize(
    "several", ["micro_table1,micro_table4", "choice(table1,table4)", "glob(*)"]
)
def test_several_experiments_are_refused(several):
    """Of their grids nothing was left but one method on one task."""
    for refuses in (combinations_of, afterwards, refuse_grid):
        with pytest.raises(
            ConfigError, match=r"^experiment must name one grid, got .*: start a com"
        ):
            refuses([f"+experiment={several}"])


def test_a_grid_is_not_run_as_one_configuration(capsys):
    assert guarded(run, ["+experiment=table4"]) == 2
    assert "write python -m pedro_bench -m +experiment=table4." in capsys.readouterr().err


def test_what_makes_the_table_afterwards():
    assert afterwards(["+experiment=table2"])[0] == (
        "python -m pedro_bench.cli.instruct run=RECORD suite=mt_bench data.root=DIR judge.model=MODEL"
    )
    assert afterwards(["method=pedro"]) == []


def test_the_grid_cannot_be_typed():
    with pytest.raises(ConfigError, match=r"grid\.parts must be left to experiments, got 'grid\.p"):
        configuration_of(["grid.parts=3"])
