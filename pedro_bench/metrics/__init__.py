"""Metrics: pure functions on lists of texts; no network, all values in percent."""
