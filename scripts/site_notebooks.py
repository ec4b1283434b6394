"""Notebooks as pages of the site: executed when the site is built, outputs as Markdown and images.

`reading_results` and `comparing_two_methods` read the committed records. `inside_pedro` needs a trained
adapter, which is not committed: PEDRO is trained with one seed on the embedded backbone, once for each folder
of runs (PEDRO_BENCH_SITE_RUN, else build/site-run).
"""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

TRAIN = (
    "method=pedro",
    "task=boolq",
    "seeds=[0]",
    "trainer.max_steps=75",
    "evaluation.test_rows=50",
)
SECONDS = 600
"""Longest time of one cell."""


class Notebooks:
    """The notebooks of the repository.

    Args:
        repository: Its root.
        how: `execute`, or `source` for pages without outputs, which is quick.
    """

    def __init__(self, repository: Path, how: str) -> None:
        if how not in ("execute", "source"):
            raise ValueError(f"extra.notebooks must be execute or source, got {how!r}.")
        self._repository, self._is_executed = repository, how == "execute"
        self.paths = sorted((repository / "notebooks").glob("*.ipynb"))

    def rendered(self, path: Path) -> dict[str, str | bytes]:
        """Return a notebook's page and its images, name -> content.

        Raises:
            CellExecutionError: If a cell fails.
        """
        notebook: Any = nbformat.read(path, as_version=4)
        if self._is_executed:
            self._execute(notebook, path)
        parts: list[str] = []
        images: dict[str, bytes] = {}
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown":
                parts.append(cell.source)
                continue
            parts.append(f"```python\n{cell.source}\n```")
            shown = [one for one in cell.outputs if one.get("name") != "stderr"]
            for place, output in enumerate(shown):
                text, image = _shown(output, f"{path.stem}_{number}_{place}.png")
                parts.append(text)
                images |= image
        return {f"{path.stem}.md": "\n\n".join(parts) + "\n", **images}

    def _execute(self, notebook: Any, path: Path) -> None:
        from nbclient import NotebookClient

        variables = {**os.environ, "PYTHONPATH": str(self._repository)}
        if "PEDRO_BENCH_RUN" in "".join(cell.source for cell in notebook.cells):
            variables["PEDRO_BENCH_RUN"] = str(self._trained(variables))
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
        )
        client.execute(env=variables)

    def _trained(self, variables: dict[str, str]) -> Path:
        """Return the record of a finished PEDRO run; it is trained where it is not there yet."""
        default = self._repository / "build" / "site-run"
        folder = Path(os.environ.get("PEDRO_BENCH_SITE_RUN", default))
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pedro_bench", *TRAIN, "output=json"]
        subprocess.run(command, check=True, cwd=folder, env=variables, stdout=subprocess.DEVNULL)
        records = (folder / "results" / "runs" / "main").glob("pedro--boolq--*--seed0.json")
        return max(records, key=lambda record: record.stat().st_mtime)


def _shown(output: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return an output as Markdown, and its image under a name where it is one."""
    if output.output_type == "stream":
        return _fenced(output.text), {}
    data = output.data
    if "image/png" in data:
        return f"![output]({name})", {name: base64.b64decode(data["image/png"])}
    if "text/markdown" in data:
        return str(data["text/markdown"]), {}
    if "text/html" in data:
        return _table(str(data["text/html"])), {}
    return _fenced(str(data["text/plain"])), {}


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def _table(html: str) -> str:
    """Return a DataFrame's table without styles of its own, so that it has those of the site."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub(r'<table border="1" class="dataframe">', "<table>", html)
    return re.sub(r"\n\s*\n", "\n", html)  # a blank line would end the block
