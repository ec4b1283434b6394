import importlib.util
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PATH = REPOSITORY / "scripts" / "check_file_sizes.py"


def script():
    spec = importlib.util.spec_from_file_location("check_file_sizes", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_module_has_more_than_400_lines():
    assert script().too_long(REPOSITORY) == []


def test_a_module_of_401_lines_is_found(tmp_path):
    (tmp_path / "pedro_bench").mkdir()
    for name, lines in (("short.py", 400), ("long.py", 401)):
        (tmp_path / "pedro_bench" / name).write_text("x = 1\n" * lines)
    assert script().too_long(tmp_path) == [(tmp_path / "pedro_bench" / "long.py", 401)]
