"""Figures are the same bytes on every processor."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends import backend_pdf
from matplotlib.figure import Figure

from pedro_bench.reporting.drawing import logarithmic, rendered

REPOSITORY = Path(__file__).resolve().parents[3]
DIGESTS = "from tests.unit.reporting.test_drawing import digests; print(digests())"


def drawn(factor=1.0):
    """Draw markers and a line on logarithmic axes."""
    figure = Figure()
    panel = figure.add_subplot()
    logarithmic(panel, "x", str)
    logarithmic(panel, "y", str)
    values = 5e5 * (1 + 1e-5 * np.arange(1000.0))  # so close that a last digit moves a marker
    panel.plot(values, values * factor, marker="o")
    return figure


def digests():
    return {kind: hashlib.sha256(content).hexdigest() for kind, content in rendered(drawn).items()}


def test_a_difference_in_the_last_digit_makes_no_other_file():
    assert rendered(drawn) == rendered(lambda: drawn(1 + 1e-14))
    assert rendered(drawn)["pdf"] != rendered(lambda: drawn(1.01))["pdf"]


def test_matplotlib_is_left_as_it_was():
    before = backend_pdf.pdfRepr
    rendered(drawn)
    assert backend_pdf.pdfRepr is before
    assert before(1.123456789) == b"1.123456789"


def test_the_bytes_do_not_depend_on_what_the_processor_can_do():
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("NumPy has no code of its own for this processor")
    without = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        cwd=REPOSITORY, env=without, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(digests())
