"""The table of faults is written from faults that were done, all of them, or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import BEGIN, END

CONFTEST = "from tests.conftest import pytest_addoption, pytest_configure\n"
FAULTS = """
import pytest

@pytest.mark.fault(what="A", how="b", lost="nothing")
def test_a():
    pass

@pytest.mark.skipif(SKIPPED, reason="launcher is not installed")
@pytest.mark.fault(what="C", how="d", lost="nothing")
def test_c():
    pass
"""
DOCUMENT = f"before\n{BEGIN}\nold\n{END}\nafter\n"


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize("skipped", [True, False])
def test_a_skipped_fault_fails_the_session_and_writes_nothing(
    processes: str, skipped: bool, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    document = tmp_path / "document.md"
    document.write_text(DOCUMENT)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_them.py").write_text(FAULTS.replace("SKIPPED", str(skipped)))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault\n")
    options = ["-q", "-p", "no:cacheprovider", "-n", processes, "--write-faults=document.md"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == int(skipped), done.stdout
    if skipped:
        assert (
            "got 1 skipped, such as test_them.py::test_c (Skipped: launcher is not" in done.stdout
        )
        assert document.read_text() == DOCUMENT
    else:
        rows = ("| A | b | nothing | `test_them.py::test_a` |", "| C | d | nothing | ")
        assert all(row in document.read_text() for row in rows)
