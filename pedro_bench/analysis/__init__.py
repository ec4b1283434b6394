"""Analysis: records -> DataFrames -> medians, intervals, tests, ranks and verdicts; numbers only."""
