"""A skip that nobody allowed fails the run where the environment sets CI, as continuous integration does; elsewhere nothing changes."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

_NO_PHOTOS = "31 MB of other people's photos, which we do not pass on; drawn ones stand in where they can"
_NO_PROGRAM = "another's program, which the project does not need otherwise"
_NO_GO = "controllers' own loaders are built with Go, which the project does not need otherwise"
ALLOWED: Mapping[str, str] = {
    "tests/domains/listing/test_data.py::test_the_teams_photos_keep_the_contract[real]": _NO_PHOTOS,
    "tests/domains/listing/test_features.py::test_all_the_teams_photos_are_read[real]": _NO_PHOTOS,
    "tests/domains/listing/test_model.py::test_seconds_on_real_photos_beat_the_largest_class_on_people_never_seen": _NO_PHOTOS,
    "tests/hallmark/training/test_run.py::test_a_full_disk_fails_cleanly_and_the_next_run_works": "mounting a file system takes root",
    "tests/test_images.py::test_the_bill_of_materials_is_of_the_images_own_packages": "cyclonedx-py has an environment of its own",
    "tests/conformance/test_config.py::test_knative_takes_its_configuration[dev]": _NO_GO,
    "tests/conformance/test_config.py::test_knative_takes_its_configuration[production]": _NO_GO,
    "tests/conformance/test_config.py::test_faults_in_knatives_configuration_are_found": _NO_GO,
    "tests/conformance/test_config.py::test_kueue_takes_its_configuration[dev]": _NO_GO,
    "tests/conformance/test_config.py::test_kueue_takes_its_configuration[staging]": _NO_GO,
    "tests/conformance/test_config.py::test_kueue_takes_its_configuration[production]": _NO_GO,
    "tests/conformance/test_config.py::test_faults_in_kueues_configuration_are_found": _NO_GO,
    "tests/conformance/test_config.py::test_kserve_takes_its_configuration[dev]": _NO_GO,
    "tests/conformance/test_config.py::test_kserve_takes_its_configuration[staging]": _NO_GO,
    "tests/conformance/test_config.py::test_kserve_takes_its_configuration[production]": _NO_GO,
    "tests/conformance/test_config.py::test_istiod_takes_its_configuration[dev]": _NO_GO,
    "tests/conformance/test_config.py::test_istiod_takes_its_configuration[staging]": _NO_GO,
    "tests/conformance/test_config.py::test_istiod_takes_its_configuration[production]": _NO_GO,
    "tests/conformance/test_config.py::test_faults_in_kserves_configuration_are_found": _NO_GO,
    "tests/conformance/test_config.py::test_faults_in_istiods_configuration_are_found": _NO_GO,
    "tests/hallmark/reviews/test_postgres.py": _NO_PROGRAM,
    "tests/inference_services/clients/test_languages.py::test_java[server]": _NO_PROGRAM,
    "tests/inference_services/clients/test_languages.py::test_go[server]": _NO_PROGRAM,
    "tests/inference_services/clients/test_old_clients.py::test_ab[server]": _NO_PROGRAM,
    "tests/inference_services/clients/test_languages.py::test_java[gateway]": _NO_PROGRAM,
    "tests/inference_services/clients/test_languages.py::test_go[gateway]": _NO_PROGRAM,
    "tests/inference_services/clients/test_old_clients.py::test_ab[gateway]": _NO_PROGRAM,
}
"""Node id, to the letter -> why the test may skip on a clean machine."""


class Watch:
    """The skips of a run: each that `allowed` does not hold fails it, and is named at its end."""

    def __init__(self, allowed: Mapping[str, str]) -> None:
        self.allowed = allowed
        self.refused: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and report.nodeid not in self.allowed:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.refused[report.nodeid] = reason.removeprefix("Skipped: ")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.refused:
            terminalreporter.section("skips that tests/skips.py does not allow", red=True)
            for name, reason in self.refused.items():
                terminalreporter.line(f"{name}: {reason}")
            terminalreporter.line(
                f"{len(self.refused)} skipped where CI is set: bring what they need, or allow them with a reason"
            )


def configure(config: pytest.Config, allowed: Mapping[str, str] = ALLOWED) -> None:
    """Watch the run's skips where CI is set; with xdist the process that collects the reports does, its workers do not."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch(allowed), "hallmark-skips")
