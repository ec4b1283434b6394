"""Fail on Python modules over 400 lines: they have become two things and should be two modules."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pedro_bench", "scripts", "tests")
MOST_LINES = 400


def too_long(root: Path) -> list[tuple[Path, int]]:
    """Return (path, lines) of every module over the limit, in order of their paths."""
    modules = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    counted = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in modules)
    return [(path, lines) for path, lines in counted if lines > MOST_LINES]


def main() -> int:
    """Print the offenders; return 1 if there are any."""
    offenders = too_long(ROOT)
    for path, lines in offenders:
        print(f"{path.relative_to(ROOT)}: {lines} lines, above {MOST_LINES}: split it.")
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main())
