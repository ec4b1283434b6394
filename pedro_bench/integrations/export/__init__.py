"""Finished runs in other tools' formats, with a model card; `cli.export` is the command."""
