"""Prints what test_mutations.py found as a table, when asked by --table."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", action="store_true", help="print invariant, mutation, caught")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--table", default=False):
        return
    rows, missed = [], []
    for report in terminalreporter.getreports("passed"):
        rows += [found for name, found in report.user_properties if name == "mutation"]
    for report in terminalreporter.getreports("failed"):
        missed.append(report.nodeid)
    terminalreporter.section("invariant, mutation, caught by")
    for number, name, broken, told in sorted(rows):
        terminalreporter.line(f"F{number:<3} {broken:42} caught  {name.removeprefix('test_')[:64]:64}  {told}")
    for node in missed:
        terminalreporter.line(f"     {node}  NOT CAUGHT")
    seen = {number for number, *_ in rows}
    terminalreporter.line(f"{len(seen)} of 37 invariants caught a bug, {len(rows)} bugs in all")
