"""Records: one run, one record; the one schema, and the one place where records are written and read.

`key` is the hash of everything that can change a run's number. A finished key is not run again; tables read
records and nothing else.
"""

from pedro_bench.records.packed import PREDICTIONS as PACKED_PREDICTIONS
from pedro_bench.records.schema import (
    NOT_IN_KEY,
    SCHEMA,
    STATUSES,
    VOLATILE,
    EvaluationRecord,
    Phase,
    RunRecord,
    Split,
    check_name,
    comparable,
    config_now,
    is_measurement,
    is_name,
    key_of,
)
from pedro_bench.records.store import (
    decode,
    exists,
    find,
    finished_run,
    folder_above,
    has_predictions,
    predictions_path,
    read,
    read_bytes,
    read_predictions,
    record_at,
    record_path,
    results_folder,
    run_key,
    set_aside,
    status_of,
    suite_folder,
    text_of,
    unknown_suites,
    write,
)

__all__ = [
    "EvaluationRecord", "NOT_IN_KEY", "PACKED_PREDICTIONS", "Phase", "RunRecord", "SCHEMA", "STATUSES",
    "Split", "VOLATILE", "check_name", "comparable", "config_now", "decode", "exists", "find",
    "finished_run", "folder_above", "has_predictions", "is_measurement", "is_name", "key_of",
    "predictions_path", "read", "read_bytes", "read_predictions", "record_at", "record_path",
    "results_folder", "run_key", "set_aside", "status_of", "suite_folder", "text_of", "unknown_suites",
    "write",
]  # fmt: skip
