"""Links of documents, as they lie on the disk, become links of the site."""

import pytest

pytest.importorskip("mkdocs", reason="needs the extra site: pip install -e '.[site]'")

import site_notebooks
import site_pages
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("README.md", "index.md"),
        ("docs/tasks.md", "tasks.md"),
        ("docs/images/report.png", "images/report.png"),
        ("notebooks/inside_pedro.ipynb", "notebooks/inside_pedro.md"),
        ("pedro_bench/errors.py", "files/pedro_bench/errors.py.md"),
        ("results/verified.jsonl", "files/results/verified.jsonl"),
        ("LICENSE", "files/LICENSE.md"),
    ],
)
def test_where_a_file_stands_in_the_site(path, page):
    assert site_pages.page_of(path) == page


@pytest.mark.parametrize(
    ("origin", "link", "leads_to"),
    [
        ("README.md", "docs/tasks.md#splits", "tasks.md#splits"),
        ("README.md", "LICENSE", "files/LICENSE.md"),
        ("docs/tasks.md", "../README.md", "index.md"),
        ("docs/tasks.md", "backbones.md", "backbones.md"),
        ("docs/tasks.md", "../pedro_bench/errors.py", "files/pedro_bench/errors.py.md"),
        ("docs/tasks.md", "../pedro_bench/no_such.py", "../pedro_bench/no_such.py"),
        ("docs/tasks.md", "https://example.org/a", "https://example.org/a"),
        ("docs/tasks.md", "#here", "#here"),
    ],
)
def test_links(origin, link, leads_to):
    text = f"See [this]({link}) and `list[int](x)`."
    assert site_pages.with_links_of_the_site(text, origin) == text.replace(link, leads_to)


def test_a_notebooks_outputs_are_shown_and_its_warnings_left_out(tmp_path):
    import nbformat

    table = '<div><style scoped>td {}</style>\n<table border="1" class="dataframe"><tr></tr></table></div>'
    cell = new_code_cell("make()")
    cell.outputs = [
        new_output("stream", name="stderr", text="a warning"),
        new_output("stream", name="stdout", text="printed\n"),
        new_output("display_data", {"text/html": table, "text/plain": "plain"}),
        new_output("display_data", {"image/png": "UE5H", "text/plain": "figure"}),
    ]
    path = tmp_path / "some.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title"), cell]), path)
    found = site_notebooks.Notebooks(tmp_path, "source").rendered(path)
    assert found["some_1_2.png"] == b"PNG"
    page = found["some.md"]
    assert page.startswith("# Title\n\n```python\nmake()\n```\n\n```text\nprinted\n```")
    assert "<table><tr></tr></table>" in page
    assert "![output](some_1_2.png)" in page
    assert "warning" not in page
    assert "style" not in page


def test_an_unknown_way_to_show_notebooks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be execute or source, got 'run'"):
        site_notebooks.Notebooks(tmp_path, "run")
