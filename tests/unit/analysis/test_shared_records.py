"""RED's Tables 4, 16 and 18 are laid out from the runs of one suite; every score here is made up."""

import pytest

from pedro_bench.analysis.papers import layouts, suite_of
from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.cli.tables import tables as command
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import built, run
from tests.unit.analysis.test_evaluations import evaluate

PLACE = {"suite": "red_table4", "backbone": "llama2_7b", "data": "hub"}
METHODS = ("full_ft", "lora_red", "red")
CATEGORIES = (
    *("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"),
)
LEADERBOARD = {
    "arc": "acc_norm",
    "truthfulqa": "mc2",
    "winogrande": "acc",
    "gsm8k": "acc",
    "hellaswag": "acc_norm",
}
NAMES = ["red_table16_final", "red_table16_turn1", "red_table16_turn2", "red_table18", "red_table4"]


def conversation(number, seed):
    """Metrics and parts of MT-Bench: the method's number and the category's place as digits."""
    parts = {
        name: {
            "score": number + at / 10 + seed / 100,
            "turn_1": number + at / 10 + 1 + seed / 100,
            "turn_2": number + at / 10 - 1,
            "graded": 20,
            "rows": 20,
        }
        for at, name in enumerate(CATEGORIES)
    }
    means = {"score": number + 0.35, "turn_1": number + 1.35, "turn_2": number - 0.65}
    return means, parts


@pytest.fixture
def results_dir(tmp_path):
    for number, method in enumerate(METHODS, start=4):
        for seed in range(2):
            of = run(tmp_path, method, "ultrafeedback", seed, 30.0, **PLACE)
            for at, (suite, metric) in enumerate(LEADERBOARD.items()):
                score = 10.0 * number + at + seed
                evaluate(tmp_path, of, suite, {metric: score}, scores=[score, score])
            tasks = {"tasks": [f"subject{at}" for at in range(57)]}
            evaluate(tmp_path, of, "mmlu", {"accuracy": 40.0 + number}, settings=tasks)
            means, parts = conversation(number, seed)
            judge = {"judge": {"model": "gpt-4"}}
            evaluate(tmp_path, of, "mt_bench", means, parts=parts, settings=judge)
            evaluate(tmp_path, of, "alpaca_eval", {"win_rate": 70.0 + seed}, settings=judge)
    return tmp_path


def by_name(results_dir):
    return {table.name.partition("--")[0]: table for table in built(results_dir)}


def cells_of(table, method):
    (line,) = (one for one in table.sections[0].lines if one.method == method)
    return {(one.column.task, one.column.metric): one for one in line.cells}


def test_each_table_has_its_own_columns_and_no_other(results_dir):
    found = by_name(results_dir)
    assert sorted(found) == NAMES
    for name in NAMES[:4]:
        columns = [(one.task, one.metric) for one in found[name].columns]
        assert columns == list(layouts()[name].columns)
        assert [line.method for line in found[name].sections[0].lines] == list(METHODS)
    own = [column.task for column in found["red_table4"].columns]
    assert own == ["alpaca_eval", "ultrafeedback"]


def test_table_18_has_medians_published_numbers_and_differences(results_dir):
    table = by_name(results_dir)["red_table18"]
    cells = cells_of(table, "red")
    medians = {task: cell.spread.median for (task, _), cell in cells.items()}
    scores = {suite: 60.5 + at for at, suite in enumerate(LEADERBOARD)}
    assert medians == {**scores, "mmlu": 46.0}
    published = [cell.published.printed for cell in cells.values()]
    assert published == ["72.04", "47.59", "72.85", "11.90", "77.86", "42.27"]
    assert cells["arc", "acc_norm"].difference == pytest.approx(60.5 - 72.04)
    assert cells["mmlu", "accuracy"].difference == pytest.approx(46.0 - 42.27)
    assert cells["gsm8k", "acc"].num_examples == 2
    text = markdown(table)
    assert "Six benchmarks of the Open LLM Leaderboard (RED, Table 18). Suite red_table4" in text
    assert "HellaSwag (acc_norm)" in text


def test_some_rows_or_subjects_take_no_difference(results_dir):
    for method in METHODS:
        for seed in range(2):
            (of,) = (results_dir / "runs" / "red_table4").glob(f"{method}--*--seed{seed}.json")
            evaluate(results_dir, of, "arc", {"acc_norm": 50.0}, settings={"limit": 9})
            some = {"tasks": ["anatomy"]}
            evaluate(results_dir, of, "mmlu", {"accuracy": 40.0}, settings=some)
    table = by_name(results_dir)["red_table18"]
    cells = cells_of(table, "red")
    assert cells["arc", "acc_norm"].difference is None
    assert cells["mmlu", "accuracy"].difference is None
    assert cells["truthfulqa", "mc2"].difference is not None
    told = " ".join(notes(table))
    assert "red on arc (limit=9)" in told
    assert 'red on mmlu (tasks=["anatomy"])' in told


@pytest.mark.parametrize(
    ("turn", "writing", "average", "printed"),
    [
        ("turn1", 7.005, 7.35, ("8.778", "5.732")),
        ("turn2", 5.0, 5.35, ("1.375", "2.946")),
        ("final", 6.005, 6.35, ("5.294", "4.401")),
    ],
)
def test_table_16_has_a_column_a_category(results_dir, turn, writing, average, printed):
    table = by_name(results_dir)[f"red_table16_{turn}"]
    cells = cells_of(table, "red")
    first, last = (cells[f"mt_bench_{turn}", name] for name in ("writing", "average"))
    assert first.spread.median == pytest.approx(writing)
    assert last.spread.median == pytest.approx(average)
    assert (first.published.printed, last.published.printed) == printed
    assert last.difference == pytest.approx(average - last.published.value)
    assert len(cells) == 9
    assert all(cell.status == "partial" for cell in cells.values())


def test_ranks_are_of_the_average_over_categories(results_dir):
    """Writing alone, the first column, would put the methods the other way round."""
    for method, number in zip(METHODS, (9, 8, 7), strict=True):
        for seed in range(2):
            (of,) = (results_dir / "runs" / "red_table4").glob(f"{method}--*--seed{seed}.json")
            means, parts = conversation(10 - number, seed)
            parts["writing"] = {**parts["writing"], "score": float(number)}
            later = {"name": "ba9876543210", "started": "2026-02-01T00:00:00+00:00"}
            judge = {"judge": {"model": "gpt-4"}}
            evaluate(results_dir, of, "mt_bench", means, parts=parts, settings=judge, **later)
    section = by_name(results_dir)["red_table16_final"].sections[0]
    assert dict(section.ranks.average) == {"full_ft": 3.0, "lora_red": 2.0, "red": 1.0}
    assert section.lines[0].cells[0].place == 1


def test_a_record_without_turns_by_category_leaves_their_cells_empty(tmp_path):
    of = run(tmp_path, "red", "ultrafeedback", 0, 30.0, **PLACE)
    parts = {"math": {"score": 3.0, "graded": 2, "rows": 2}}
    evaluate(tmp_path, of, "mt_bench", {"score": 5.0, "turn_1": 6.0, "turn_2": 4.0}, parts=parts)
    cells = cells_of(by_name(tmp_path)["red_table16_turn1"], "red")
    assert cells["mt_bench_turn1", "math"].spread is None
    assert cells["mt_bench_turn1", "average"].spread.median == 6.0


def test_every_evaluation_of_a_cell_has_its_command(results_dir):
    cell = cells_of(by_name(results_dir)["red_table16_turn1"], "red")["mt_bench_turn1", "math"]
    commands = command_of(cell.scored).split("\n")
    assert len(commands) == 2
    for seed, one in enumerate(commands):
        assert f"--seed{seed}.json suite=mt_bench judge.model=gpt-4" in one


def test_a_table_is_asked_for_by_its_name(results_dir, capsys):
    assert (suite_of("red_table18"), suite_of("red_table4")) == ("red_table4", "red_table4")
    assert suite_of("micro_red_table16_turn1") == "micro_red_table4"
    assert suite_of("small_red_table18_gpu") == "small_red_table4_gpu"
    folder = results_dir / "made"
    where = [f"results_dir={results_dir}", f"tables_dir={folder}"]
    assert command(["table=red_table18", *where]) == 0
    assert [path.stem for path in folder.glob("*.csv")] == ["red_table18--llama2_7b--hub"]
    assert "42.27" in capsys.readouterr().out
    assert command(["suite=red_table4", *where]) == 0
    assert sorted(path.stem.partition("--")[0] for path in folder.glob("*.csv")) == NAMES
