"""Tables of rates: which rule holds, what wins over it, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.rates import check_extendable, write_rates
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.cli.options import groups, outside_options
from pedro_bench.errors import ConfigError
from pedro_bench.runs.identity import key_parts

BASE = ["backbone=micro", "data=micro", "trainer=micro", "trainer.rates=mine"]

RULES = """
- for: {backbone: micro}
  set: {trainer.max_steps: 7, method.lr: {rte: 0.5, sst2: 0.25}}
- for: {method: [lora, ia3], task: rte}
  set: {method.lr: 0.125}
- for: {method: lora}
  set: {method.r: {sst2: 6}, evaluation.num_beams: 2}
"""


@pytest.fixture
def mine(tmp_path: Path):
    """Writes conf/rates/mine.yaml into a folder beside the package's options, in use for the test."""
    folder = tmp_path / "conf"
    (folder / "rates").mkdir(parents=True)

    def write(text: str) -> None:
        (folder / "rates" / "mine.yaml").write_text(text)

    write(RULES)
    with outside_options(["--config-dir", str(folder)]):
        yield write


@pytest.mark.usefixtures("mine")
def test_rules_hold_in_their_order_and_a_typed_setting_wins():
    lora = settings_of([*BASE, "method=lora", "task=rte"])
    assert (lora.method.lr, lora.trainer.max_steps, lora.evaluation.num_beams) == (0.125, 7, 2)
    assert lora.method.r == 4
    assert lora.trainer.rates == "mine"
    pedro = settings_of([*BASE, "method=pedro", "task=rte"])
    assert (pedro.method.lr, pedro.evaluation.num_beams == 2) == (0.5, False)
    other = settings_of([*BASE, "method=lora", "task=sst2", "trainer.max_steps=9"])
    assert (other.method.lr, other.method.r, other.trainer.max_steps) == (0.25, 6, 9)
    assert settings_of([*BASE, "method=lora", "task=rte", "method.lr=0.75"]).method.lr == 0.75


def test_how_the_rule_of_the_rate_was_found_stands_in_the_trainer_and_moves_no_key(mine):
    mine(RULES.replace("method.lr: 0.125}", "method.lr: 0.125}\n  tried: {trials: 6}"))
    found = settings_of([*BASE, "method=lora", "task=rte"])
    assert found.trainer.tried == {"trials": 6}
    for other in (["task=sst2"], ["task=rte", "method.lr=0.125"]):
        assert settings_of([*BASE, "method=lora", *other]).trainer.tried is None
    typed = settings_of([*BASE, "method=lora", "task=rte", "method.lr=0.125"])
    assert key_parts(found) == key_parts(typed)


@pytest.mark.usefixtures("mine")
def test_a_sweep_reads_the_rules_for_each_of_its_combinations():
    sweep = sweep_of([*BASE, "method=lora,pedro", "task=rte,sst2"])
    found = {
        (one.settings.method.name, one.settings.task.name): one.settings.method.lr for one in sweep
    }
    assert found == {
        ("lora", "rte"): 0.125, ("lora", "sst2"): 0.25, ("pedro", "rte"): 0.5, ("pedro", "sst2"): 0.25,
    }  # fmt: skip


@pytest.mark.usefixtures("mine")
def test_the_key_is_that_of_the_run_that_names_the_settings_itself():
    chosen = settings_of([*BASE, "method=pedro", "task=rte"])
    typed = settings_of(
        [
            *BASE[:3],
            "trainer.rates=null",
            "method=pedro",
            "task=rte",
            "method.lr=0.5",
            "trainer.max_steps=7",
        ]
    )
    assert typed.trainer.rates is None
    assert key_parts(chosen) == key_parts(typed)


@pytest.mark.usefixtures("mine")
def test_a_method_without_a_rate_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"^trainer\.rates=mine must have a rate for method=lora task=boolq backbone=micro, got "
        r"none: set method\.lr=…, or trainer\.rates=null",
    ):
        settings_of([*BASE, "method=lora", "task=boolq"])
    assert settings_of([*BASE, "method=lora", "task=boolq", "method.lr=0.1"]).trainer.max_steps == 7


@pytest.mark.usefixtures("mine")
def test_an_unknown_table_is_refused_with_the_near_match():
    with pytest.raises(
        ConfigError, match=r"rates must be one of the known .*'mien'.*Did you mean 'mine'"
    ):
        settings_of([*BASE[:3], "method=lora", "task=rte", "trainer.rates=mien"])
    assert "rates" not in groups()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b", r"must be a YAML list of rules, got dict"),
        ("[", r"must be a YAML list of rules, got: "),
        ("- {for: {}}", r"rule 1 of .* must have the keys for and set"),
        ("- {for: [], set: {}}", r"rule 1 of .* must have mappings under for and set"),
        ("- {for: {metod: x}, set: {}}", r"for in rule 1 .*got 'metod'.*Did you mean 'method'"),
        ("- {for: {}, set: {lr: 1}}", r"set in rule 1 .* such as method\.lr .*got 'lr'"),
        ("- {for: {}, set: {task.seed: 1}}", r"set in rule 1 .*got 'task\.seed'"),
        (
            "- {for: {}, set: {method.lr: 0.1, trainer.epochs: 1}}",
            r"trainer\.epochs must be a known",
        ),
        ("- {for: {}, set: {method.lr: -1}}", r"method\.lr must be a number above 0"),
    ],
)
def test_a_malformed_rule_is_refused(mine, text: str, message: str):
    mine(text)
    with pytest.raises(ConfigError, match=message):
        settings_of([*BASE, "method=lora", "task=rte"])


@pytest.mark.usefixtures("mine")
def test_a_typed_rate_of_the_trainer_wins_over_the_files():
    words = [*BASE, "method=lora", "task=rte", "trainer.lr=0.75"]
    settings = settings_of(words)
    assert (settings.method.lr, settings.trainer.resolved_lr(settings.method)) == (None, 0.75)
    assert settings_of([*words[:-1], "method.lr=0.5", "trainer.lr=0.75"]).method.lr == 0.5


def test_a_rule_for_all_may_name_the_trainers_rate(mine):
    mine("- {for: {}, set: {trainer.lr: 0.25}}\n- {for: {method: ia3}, set: {method.lr: 0.5}}")
    found = {
        name: settings_of([*BASE, f"method={name}", "task=rte"]) for name in ("ia3", "full_ft_red")
    }
    rates = {name: one.trainer.resolved_lr(one.method) for name, one in found.items()}
    assert rates == {"ia3": 0.5, "full_ft_red": 2e-5}  # its YAML has a rate of its own


def test_the_micro_table_gives_every_method_a_rate():
    found = {
        name: settings_of(["trainer=micro", "task=rte", f"method={name}"])
        for name in ("pedro", "lora", "ia3", "red", "full_ft_red")
    }
    rates = {name: one.trainer.resolved_lr(one.method) for name, one in found.items()}
    assert rates == {"pedro": 3e-3, "lora": 3e-3, "ia3": 3e-2, "red": 1e-3, "full_ft_red": 2e-5}


def test_found_rules_replace_their_own_and_leave_the_rest_of_a_file(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    by_hand = (
        "# By hand.\n- for: {method: lora}\n  set: {method.lr: 0.5}   # a note\n\n"
        "# Others.\n- {for: {}, set: {trainer.lr: 0.25}}\n"
    )
    path.write_text(by_hand)

    def found(rate: float, *methods: str) -> list[dict[str, Any]]:
        return [
            {"for": {"method": name}, "set": {"method.lr": rate}, "tried": {"trials": 2}}
            for name in methods
        ]

    write_rates(path, found(0.1, "pedro", "ia3"), "first")
    write_rates(path, found(0.2, "pedro"), "second")
    text = path.read_text()
    assert text.startswith(by_hand)
    assert (text.count("first"), text.count("second"), text.count('"pedro"')) == (1, 1, 1)
    assert text.index("first") < text.index('"ia3"') < text.index("second") < text.index('"pedro"')
    write_rates(path, found(0.3, "ia3", "lora"), "third")
    text = path.read_text()
    assert "first" not in text  # none of its rules is left
    assert "a note" not in text  # lora's rule by hand is for the same runs
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# By hand.",
        "# Others.",
        "# Found on dev data by",
        "#   second",
        "# Found on dev data by",
        "#   third",
    ]


@pytest.mark.usefixtures("mine")
def test_what_was_found_for_one_task_stays_in_force_when_all_are_searched_again(tmp_path: Path):
    path = tmp_path / "conf" / "rates" / "mine.yaml"

    def found(rate: float, **more: str) -> dict[str, Any]:
        where = {"backbone": "micro", "method": "lora", **more}
        return {"for": where, "set": {"method.lr": rate}, "tried": {"trials": 2}}

    path.write_text("- {for: {task: rte}, set: {method.lr: 0.9}}\n")
    write_rates(path, [found(0.1), found(0.5, method="ia3")], "first")
    write_rates(path, [found(0.2, task="rte"), found(0.3, task="sst2")], "second")
    write_rates(path, [found(0.4)], "third")
    write_rates(path, [found(0.6)], "fourth")
    rates = {
        task: settings_of([*BASE, "method=lora", f"task={task}"]).method.lr
        for task in ("rte", "sst2", "boolq")
    }
    assert rates == {"rte": 0.2, "sst2": 0.3, "boolq": 0.6}
    lines = path.read_text().splitlines()
    assert [line[4:] for line in lines if line.startswith("#   ")] == ["first", "fourth", "second"]
    assert lines.index("#   second") < next(n for n, line in enumerate(lines) if '"rte"' in line)


@pytest.mark.parametrize(
    "text",
    [
        "[{for: {method: lora}, set: {method.lr: 0.5}}]\n",
        "  - for: {method: lora}\n    set: {method.lr: 0.5}\n",
    ],
)
def test_a_file_whose_rules_begin_no_lines_is_left_as_it_is(text: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(
        ConfigError, match=r"must each begin a line .* got 0 such lines for 1 rules"
    ):
        write_rates(path, [{"for": {"method": "ia3"}, "set": {"method.lr": 0.1}}], "command")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("- for: {method: lora}\n# a comment\n  set: {method.lr: 0.5}\n", 1),
        (
            "- for: {method: ia3}\n  set: &own {method.lr: 0.5}\n- for: {method: lora}\n  set: *own\n",
            2,
        ),
    ],
)
def test_a_rule_that_is_not_whole_in_its_lines_is_refused_before_the_search(
    text: str, number: int, tmp_path: Path
):
    """Half of it would stay, or it could not be read, once the rates are found."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"rule {number} of .* must be whole in its own lines"):
        check_extendable(path)
    assert path.read_text() == text


def test_a_rule_that_sets_more_than_the_rate_stays(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    by_hand = "---\n- for: {method: lora}\n  set: {method.lr: 0.5, trainer.batch_size: 4}\n"
    path.write_text(by_hand)
    for rate in (0.1, 0.2):
        write_rates(path, [{"for": {"method": "lora"}, "set": {"method.lr": rate}}], "command")
    text = path.read_text()
    assert text.startswith(by_hand)
    assert (text.count("- "), text.count("command"), text.count("0.2")) == (2, 1, 1)


def test_what_an_earlier_search_found_goes_with_its_rate(tmp_path: Path):
    """An alpha that was found together with another rate is not in force beside the new one."""
    path = tmp_path / "mine.yaml"
    tried = {"for": {"method": "lora"}, "tried": {"trials": 4}}
    write_rates(path, [{**tried, "set": {"method.lr": 0.1, "method.alpha": 8}}], "first")
    write_rates(path, [{**tried, "set": {"method.lr": 0.2}}], "second")
    assert "alpha" not in path.read_text()


def test_rules_that_another_process_wrote_are_read(tmp_path: Path):
    """Two searches that share their trials end by writing the same file, one after the other."""
    path = tmp_path / "mine.yaml"
    rules = [{"for": {"method": "lora"}, "set": {"method.lr": 0.5}}]
    write_rates(path, rules, "first")
    check_extendable(path)  # read, as a search does before it begins
    other = "- {for: {method: ia3}, set: {method.lr: 0.25}}\n"
    path.write_text(path.read_text() + other)
    write_rates(path, rules, "first")
    assert other in path.read_text()
