"""Options every test shares: `--require docker,redis` turns their skips into failures."""

import pytest

pytest_plugins = ["homes"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        default="",
        help="comma-separated markers that must run: what would be skipped fails instead",
    )
    parser.addoption("--soak", action="store_true", help="run the long random tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    required = {name for name in item.config.getoption("--require").split(",") if name}
    marks = {mark.name for mark in item.iter_markers()} & required
    if report.skipped and not hasattr(report, "wasxfail") and marks:
        report.outcome = "failed"
        report.longrepr = f"required by --require {','.join(sorted(marks))}: {report.longrepr}"
    return report
