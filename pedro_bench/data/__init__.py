"""Data: sources of rows (`files`, `hub`, `micro_source`), splits, encoding and batching."""
