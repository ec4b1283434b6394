"""The documentation site builds strictly; building and reading it need no network."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LACKING = [
    name
    for name in (
        "mkdocs",
        "material",
        "mkdocstrings",
        "mkdocstrings_handlers",
        "nbclient",
        "ipykernel",
    )
    if importlib.util.find_spec(name) is None
]
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason="needs the extra site: pip install -e '.[site]'"),
    pytest.mark.timeout(1800),  # a run is trained and notebooks are executed
]

NO_NETWORK = """
import socket
connect = socket.socket.connect
def refused(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a build must not reach the network, got {address}")
    return connect(self, address)
socket.socket.connect = refused
"""


def built(folder: Path, notebooks: str) -> Path:
    """Build the site strictly, every process of it without a network; return its folder."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    site = folder / "site"
    variables = {
        **os.environ,
        "PYTHONPATH": f"{folder}:{REPOSITORY}",
        "PEDRO_BENCH_SITE_NOTEBOOKS": notebooks,
        "PEDRO_BENCH_SITE_RUN": str(folder / "run"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.mktemp("site"), "source")


def test_every_document_is_a_page(site):
    documents = {path.stem for path in (REPOSITORY / "docs").glob("*.md")}
    notebooks = {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    pages = {path.stem for path in site.glob("*.html")}
    assert pages == documents | {"index", "contributing", "changelog", "404"}
    assert {path.stem for path in (site / "notebooks").glob("*.html")} == notebooks


def test_pages_load_nothing_from_the_network(site):
    loading = re.compile(
        r"<(?:script|link|img|iframe|source|use)\b[^>]*?(?:src|href)=[\"']?([^\"' >]+)"
    )
    loaded = [
        (page.name, target)
        for page in site.rglob("*.html")
        for target in loading.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(loaded) > 100
    assert [one for one in loaded if re.match(r"(?:[a-z]+:)?//", one[1])] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles) == []


def test_links_to_files_of_the_repository_lead_to_their_pages(site):
    page = (site / "adding_a_method.html").read_text(encoding="utf-8")
    assert 'href="files/pedro_bench/protocols/method.py.html"' in page
    source = site / "files" / "pedro_bench" / "protocols" / "method.py.html"
    assert "what a method may do" in re.sub(r"<[^>]+>", "", source.read_text("utf-8")).lower()
    assert 'href="docs/' not in (site / "index.html").read_text(encoding="utf-8")


def test_what_is_public_is_described_from_its_docstrings(site):
    page = (site / "api.html").read_text(encoding="utf-8")
    listed = re.findall(r"^::: (\S+)$", (REPOSITORY / "docs" / "api.md").read_text(), re.MULTILINE)
    assert [name for name in listed if f'id="{name}"' not in page] == []
    assert "Bottleneck of the generators, at least 1." in page


def test_search_finds_words_of_pages_but_not_of_sources(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"].split("#")[0] for entry in index["docs"]}
    assert {"tutorial.html", "api.html", "notebooks/inside_pedro.html"} <= places
    assert not any(place.startswith("files/") and place.endswith(".py.html") for place in places)


@pytest.mark.slow
def test_notebooks_are_pages_with_their_outputs(tmp_path):
    site = built(tmp_path, "execute")
    for name, shown in (
        ("reading_results", "rows × "),
        ("comparing_two_methods", "Comparison(difference="),
        ("inside_pedro", "(3, 128)"),
    ):
        page = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert shown in re.sub(r"<[^>]+>", "", page)
        assert "site-packages" not in page
