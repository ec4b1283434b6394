"""Pass the fault suite many times in a row; goes on where it was stopped, as long as the code is the same.

    python scripts/repeat_faults.py --times 20 --log outputs/faults.jsonl

Each pass is one `pytest` of every fault, the slow ones too, and writes the table of docs/reliability.md;
a line in the log says how it ended and under which code. A pass in which a fault was skipped is a failed
one: `--write-faults` ends it so. Only passes of the present code count, since its
last failure. Ends with the first failure, whose output it prints. The code must be committed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = ("pedro_bench", "conf", "tests")
SUITE = ("-m", "fault and not gpu and not network", "-n", "2", "--dist", "worksteal", "-q")
TABLE = "--write-faults=docs/reliability.md"


def git(*arguments: str) -> str:
    """Return what git prints."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def code_version() -> str:
    """Return what names the committed code, whatever documents are committed beside it.

    Raises:
        SystemExit: If there is code that is not committed.
    """
    if changed := git("status", "--porcelain", "--", *CODE):
        sys.exit(f"the code must be committed, so that its passes can be counted, got:\n{changed}")
    return " ".join(git("rev-parse", *(f"HEAD:{folder}" for folder in CODE)).split())


def in_a_row(log: Path, code: str) -> list[float]:
    """Return the seconds of the passes since the last failure, of this code."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found: list[float] = []
    for entry in map(json.loads, lines):
        if entry["code"] == code:
            found = [*found, entry["seconds"]] if entry["passed"] else []
    return found


def one_pass(code: str) -> tuple[dict[str, object], str]:
    """Run the suite once; return the log's entry and the output.

    Raises:
        SystemExit: If it was interrupted, which says nothing of the code.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", *SUITE, TABLE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode < 0 or done.returncode == pytest.ExitCode.INTERRUPTED:
        sys.exit("interrupted: the same command goes on where this one stopped.")
    seconds = round(time.monotonic() - started, 1)
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "")
    entry = {"code": code, "passed": done.returncode == 0, "seconds": seconds, "said": last}
    return entry, done.stdout + done.stderr


def main() -> None:
    """Pass the suite until it has passed as often as was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=20, help="passes in a row that are wanted")
    parser.add_argument("--log", type=Path, default=Path("outputs/faults.jsonl"))
    asked = parser.parse_args()
    code = code_version()
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    while len(passes := in_a_row(asked.log, code)) < asked.times:
        entry, output = one_pass(code)
        with asked.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        sys.stdout.write(f"{len(passes) + 1}: {entry['said']}\n")
        sys.stdout.flush()
        if not entry["passed"]:
            sys.exit(output)
    total = sum(passes) / 60
    sys.stdout.write(f"{len(passes)} passes in a row, {total:.0f} minutes.\n")


if __name__ == "__main__":
    main()
