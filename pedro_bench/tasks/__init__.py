"""Tasks: one file is one family of tasks; a task itself is a YAML in `conf/task/`."""
