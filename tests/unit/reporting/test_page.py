import html
import html.parser
import json
import re
import shutil
import subprocess

import pytest

from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.reporting.page import page
from tests.unit.analysis.runs import built, five, run

EVIL = '</script><script>alert("x")</script>'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Elements(html.parser.HTMLParser):
    """Collects (tag, attributes) and what was left open."""

    VOID = frozenset({"meta", "input"})

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag, **attributes):
        keys = {key.replace("_", "-"): value for key, value in attributes.items()}
        return [a for t, a in self.found if t == tag and keys.items() <= a.items()]


@pytest.fixture
def results(tmp_path):
    made = {
        "timing": {"tokens_per_second": 100.0, "train_seconds": 30.0},
        "memory": {"peak_bytes": 3 * 1024**3, "adapter_bytes": 5 * 1024**2},
        "energy": {"train_joules": 45.0, "of": "gpu"},
        "suite": "micro_table1",
    }
    history = [{"step": step, "dev_loss": 1 / step} for step in (1, 2, 4)]
    five(tmp_path, score=80.0, parameters={"matrices": 9000}, history=history, **made)
    five(tmp_path, "lora", score=70.0, parameters={"matrices": 5000}, history=history, **made)
    environment = {"dirty": True}
    run(tmp_path, "ia3", score=60.0, environment=environment, parameters={"matrices": 7000}, **made)
    run(tmp_path, "ia3", "sst2", status="failed", error=f"bad {EVIL}", metrics={}, **made)
    return tmp_path


def page_of(results_dir):
    return page(built(results_dir), command_of)


def test_the_page_is_whole_needs_no_network_and_escapes_what_records_bring(results):
    text = page_of(results)
    elements = Elements(text)
    assert elements.open == []
    assert "alert(" in text and EVIL not in text
    assert len(elements.of("script")) == 1
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|url\((?!#)|@import""", text)
    assert (
        "default-src 'none'"
        in elements.of("meta", http_equiv="Content-Security-Policy")[0]["content"]
    )
    assert text == page_of(results)
    headings = [
        text for text in elements.texts if text in {"Energy (GPU)", "Operations", "Forgotten"}
    ]
    assert headings == ["Energy (GPU)"]  # no record has the others


def test_scores_with_their_doubts_the_published_number_and_the_mark(results):
    text = page_of(results)
    elements = Elements(text)
    rows = [one["data-method"] for one in elements.of("tr") if "data-method" in one]
    assert {"pedro", "lora", "ia3", "full_ft"} <= set(rows)
    assert elements.of("td", data_task="boolq", data_value="80.0")[0]["class"] == "finished"
    assert elements.of("td", data_task="boolq", data_value="60.0")[0]["class"] == "partial dirty"
    assert elements.of("td", data_task="sst2", **{"class": "failed"})
    assert "n=1, 1 dirty" in text and "1 failed" in text and "paper 88.1" in text
    assert "Failed: ia3 on sst2, seed 0: bad &lt;/script&gt;" in text
    assert re.search(
        r"Missing, of the paper&#39;s methods and tasks: [^.]*full_ft on boolq; ", text
    )
    assert '<span class="micro">micro results</span>' in text


def test_charts_hold_one_mark_for_each_run(results):
    elements = Elements(page_of(results))
    kinds = [one["data-kind"] for one in elements.of("figure")]
    assert kinds == ["curves", "parameters", "speed", "seconds", "gpu_energy", "memory", "size"]
    titles = [text for text in elements.texts if ", seed " in text or ", median over" in text]
    assert sorted(one for one in titles if one.startswith("PEDRO")) == [
        "PEDRO, median over seeds", *(f"PEDRO, seed {n}" for n in range(5)),
    ]  # fmt: skip
    assert {
        "(IA)^3: 60.00 at 7K",
        "PEDRO: 80.00 at 3.0 GiB",
        "PEDRO: 80.00 at 45 J",
        "LoRA: 70.00 at 5.0 MiB",
    } <= {*elements.texts}
    assert {"pedro", "lora", "ia3", ""} == {
        one["data-method"] for one in elements.of("g") if "data-method" in one
    }


def measure(results_dir, suite):
    """Write what `cli.efficiency` records: repeats of a measurement of memory and speed."""
    for method, speed, mebibytes in (("pedro", 30.0, 13093), ("lora", 20.0, 13112)):
        for repeat in range(2):
            run(
                results_dir, method, "generate_beam1", repeat, suite=suite, backbone="llama2_7b",
                data="paper_lengths", main_metric="tokens_per_second",
                metrics={"test": {"tokens_per_second": speed, "memory_mib": float(mebibytes)}},
                memory={"peak_bytes": mebibytes * 2**20}, groups={"efficiency": {"seed": 0}},
                key="0123456789ab", started="2026-01-01T00:00:00+00:00",
            )  # fmt: skip


def test_memory_is_not_drawn_against_itself(tmp_path):
    measure(tmp_path, "table3")
    text = page_of(tmp_path)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions == ["Beam 1: tokens_per_second by peak memory"]
    places = re.findall(r">(12\.\d+ GiB)</text>", text)
    assert len(places) >= 3
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("suite", ["table3", "efficiency", "speed"])
def test_a_measurement_has_repeats_and_no_seeds_in_any_suite(tmp_path, suite):
    measure(tmp_path, suite)
    elements = Elements(page_of(tmp_path))
    own = elements.texts[elements.texts.index("Llama-2 7B") :]
    told = "".join(one for one in own if "function" not in one)
    assert "median over repeats." in told
    assert "Fewer than 5 repeats: lora on generate_beam1 has 2" in told
    assert "Measured on" in told
    assert not re.search(r"\bseeds?\b", told, flags=re.IGNORECASE)
    cell = next(one for one in elements.of("td") if "data-trace" in one)
    assert json.loads(cell["data-trace"])["each"] == "Repeat"


def test_the_table_with_the_most_scores_comes_first(results):
    five(results, suite="a_small_suite")
    elements = Elements(page_of(results))
    sections = [one["id"] for one in elements.of("section")]
    assert sections == ["micro_table1--micro--micro", "a_small_suite--micro--micro"]


def test_a_score_leads_back_to_its_runs(results):
    elements = Elements(page_of(results))
    (cell,) = elements.of("td", data_task="boolq", data_value="60.0")
    trace = json.loads(cell["data-trace"])
    assert (trace["title"], trace["each"]) == ("(IA)^3, BoolQ (acc)", "Seed")
    facts = dict(trace["facts"])
    key = facts["Key"]
    assert trace["runs"] == [[0, "60", f"runs/micro_table1/ia3--boolq--micro--{key}--seed0.json"]]
    assert facts["Tokens/s"] == "100"
    assert trace["command"].startswith("python -m pedro_bench method=ia3 task=boolq backbone=micro")
    assert all("data-trace" not in one for one in elements.of("td", **{"class": "failed"}))


def test_a_record_alone_does_not_decide_what_is_imported(tmp_path, monkeypatch):
    (tmp_path / "somebodys_own.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    run(tmp_path / "results", groups={"method": {"_target_": "somebodys_own.Config"}})
    text = page_of(tmp_path / "results")
    assert "python -m pedro_bench --config-dir DIR method=pedro" in text


def test_a_loss_of_zero_and_a_run_without_anything_to_draw(tmp_path):
    run(tmp_path, history=[{"step": 1, "dev_loss": 0.0}])
    run(tmp_path, "lora")
    assert [one["data-kind"] for one in Elements(page_of(tmp_path)).of("figure")] == ["curves"]


CLICKS = """
<script>
const scores = document.querySelector("table.scores");
const column = [...scores.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("BoolQ"));
const isSeen = (one) => one.getClientRects().length > 0;
const order = () => [...scores.tBodies[0].rows].slice(0, 3).map((row) => row.dataset.method);
const seen = (selector) => [...document.querySelectorAll(selector)].filter(isSeen).length;
const marks = "figure g[data-method=pedro] path, figure g[data-method=pedro] use";
const found = {};
scores.tHead.rows[0].cells[column].click(); found.down = order();
scores.tHead.rows[0].cells[column].click(); found.up = order();
scores.tHead.rows[0].cells[1].click(); found.size = order();
found.before = [seen(marks) > 0, seen("figure"), seen("th[data-cost]")];
document.querySelector('[data-filter=method][value=pedro]').click();
found.method = [seen(marks), seen("tr[data-method=pedro]"), seen("figure")];
document.querySelector('[data-filter=task][value=boolq]').click();
document.querySelector('[data-filter=cost]').click();
found.task = [seen("figure"), seen("td[data-task=boolq]"), seen("th[data-task=sst2]") > 0,
  seen("th[data-cost]")];
document.querySelector('[data-all=true]').click();
found.after = [seen(marks) > 0, seen("figure"), seen("th[data-cost]")];
scores.querySelector("tr[data-method=pedro] td[data-trace]").click();
const opened = document.querySelector("dialog");
found.trace = [opened.open, opened.querySelectorAll("tbody tr").length,
  opened.querySelector("h3").textContent,
  opened.querySelector("pre").textContent];
document.title = JSON.stringify(found);
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium (apt-get install chromium)")
def test_sorting_and_filters_in_a_browser(results, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page_of(results).replace("</body>", f"{CLICKS}</body>"))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, check=True
    )
    title = html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, flags=re.DOTALL).group(1))
    found = json.loads(title)
    assert found["down"] == ["pedro", "lora", "ia3"]
    assert found["up"] == ["ia3", "lora", "pedro"]
    assert found["size"] == ["pedro", "ia3", "lora"]
    assert found["before"] == found["after"] == [True, 7, 5]
    assert found["method"] == [0, 0, 7]
    assert found["task"] == [0, 0, True, 0]
    is_open, runs, title, command = found["trace"]
    assert (is_open, runs, title) == (True, 5, "PEDRO, BoolQ (acc)")
    assert command.startswith("python -m pedro_bench method=pedro task=boolq")
