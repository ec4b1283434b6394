"""Write the golden traces: `python -m tests.golden [--accept]`.

A trace that moved while its versions stayed is refused; `--accept` takes it all the same, for a change of
library versions or of processor, and is to be told in the CHANGELOG.
"""

import json
import sys

from pedro_bench.metrics import caption_programs
from tests.golden.traces import FOLDER, keys, makers, stored, verdict


def write(*, accept: bool) -> int:
    """Make every trace and write those that may be written; return the exit code."""
    caption_programs.PACKAGE = "not-installed"  # as in tests
    refused = []
    for file, own in makers().items():
        old, new = stored(file), {}
        for name, make in sorted(own.items()):
            found = make()
            said = verdict(file, name, found, old.get(name, {}))
            if said is not None and "must not move" in said and not accept:
                refused.append(said)
                found = old[name]
            new[name] = found if said is not None else old[name]
        _write(file, new)
    _write("keys", keys())
    print("\n".join(refused) or "written", file=sys.stderr if refused else sys.stdout)
    return 2 if refused else 0


def _write(file: str, content: object) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / f"{file}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write(accept="--accept" in sys.argv[1:]))
