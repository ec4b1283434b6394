"""Take the pictures of pages that docs/ shows: `python scripts/screenshots.py` writes docs/images/.

It needs Chromium or Chrome on PATH, or its path in CHROMIUM (Debian: `apt-get install chromium`), and no
network: the report page is made anew from the committed records and opened from the disk. Figures need no
browser: `python -m pedro_bench.cli.figures` draws them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES = REPOSITORY / "docs" / "images"
SUITE = "micro_table4"
"""Small enough for one picture of table and curves."""
SIZE = (1200, 1150)
"""Width and height in pixels."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str:
    """Return the path of a browser that takes pictures without a screen.

    Raises:
        SystemExit: If there is none.
    """
    found = [shutil.which(name) for name in (os.environ.get("CHROMIUM", ""), *BROWSERS) if name]
    for path in filter(None, found):
        return path
    raise SystemExit(
        f"a browser must be on PATH for screenshots, got none of {', '.join(BROWSERS)}: install Chromium, or "
        "name it with CHROMIUM=/path/to/chromium."
    )


def picture(program: str, page: Path, image: Path, size: tuple[int, int] = SIZE) -> None:
    """Write a picture of a page on the disk.

    Args:
        program: The browser.
        page: The HTML file.
        image: The PNG file; its folder is made.
        size: Width and height of the window in pixels.

    Raises:
        SystemExit: If the browser writes none.
    """
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "page.png"
        command = [
            program,
            "--headless",
            "--no-sandbox",  # containers have none to offer; the page is ours
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={made}",
            page.resolve().as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode or not made.is_file():
            raise SystemExit(
                f"the browser must write a picture of {page}, got: {done.stderr.strip()}"
            )
        shutil.copyfile(made, image)


def main() -> None:
    """Make the report page of one suite and take its picture."""
    program = browser()
    with tempfile.TemporaryDirectory() as folder:
        options = [
            f"results_dir={REPOSITORY / 'results'}",
            f"suite={SUITE}",
            f"tables_dir={folder}",
        ]
        command = [sys.executable, "-m", "pedro_bench.cli.tables", *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        picture(program, Path(folder) / "report.html", IMAGES / "report.png")
    print(f"written: {IMAGES / 'report.png'}")


if __name__ == "__main__":
    main()
