"""Reporting: records in, tables out; nothing else is read and torch is never imported."""
