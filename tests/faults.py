"""The table of faults in docs/reliability.md, written from the tests that did them and passed."""

from pathlib import Path

import pytest

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
FAULT = "fault"
HEAD = "| fault | how it is done | what is lost | tests |\n|---|---|---|---|\n"


class FaultTable:
    """A pytest plugin that collects the faults whose tests passed, in any process of the suite.

    A skipped fault fails the session, whatever the reason: a machine that cannot do every fault cannot
    tell that all are withstood. Those that need a GPU or a network are chosen by `-m`, not skipped.

    Args:
        document: The document that holds the table between BEGIN and END.
    """

    def __init__(self, document: Path) -> None:
        self.document = document
        self.faults: dict[str, tuple[str, str, str]] = {}
        self.results: dict[str, set[str]] = {}
        self.skipped: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marker = item.get_closest_marker("fault")
            if marker is not None:  # a property of the test reaches the process that writes
                told = marker.kwargs
                item.user_properties.append((FAULT, (told["what"], told["how"], told["lost"])))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = dict(report.user_properties).get(FAULT)
        if told is not None and (report.when == "call" or report.outcome != "passed"):
            name = report.nodeid.partition("[")[0]
            self.faults[name] = told
            self.results.setdefault(name, set()).add(report.outcome)
            if report.skipped and isinstance(report.longrepr, tuple | list):
                self.skipped[name] = str(report.longrepr[2])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.write_line(self.refusal())

    def refusal(self) -> str:
        name, reason = next(iter(sorted(self.skipped.items())))
        return (
            f"error: --write-faults must have every fault done, got {len(self.skipped)} skipped, such as "
            f"{name} ({reason}): the table stays as it was; install pedro_bench[launchers] and go where "
            "mounting is allowed."
        )

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        if self.skipped:  # a fault that nobody did was not withstood
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        rows = sorted(
            (*self.faults[name], name)
            for name, outcomes in self.results.items()
            if outcomes == {"passed"}
        )
        lines = [
            f"| {what} | {how} | {lost} | `{name.rpartition('/')[2]}` |\n"
            for what, how, lost, name in rows
        ]
        before, _, rest = self.document.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        table = f"{BEGIN}\n{HEAD}{''.join(lines)}{END}"
        self.document.write_text(f"{before}{table}{after}", encoding="utf-8")
