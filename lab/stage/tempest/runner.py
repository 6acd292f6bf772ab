# SPDX-License-Identifier: Apache-2.0
"""Running Tempest on the controller, where the bundle's plug-in is installed beside it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence

from lab.client.connection import OPENRC, connect, parse_openrc
from lab.errors import LabError
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.tempest.conf import WORKSPACE, tempest_conf
from lab.stage.tempest.facts import find_facts
from lab.stage.tempest.results import Rule, TestResult, parse_listed, parse_results

PLUGIN_TESTS = r"^tempest_plugin\."
COMPUTE_TESTS = r"^tempest\.(api\.compute|scenario)\."
# Tests that spoil the others of their class, and are run after all others. This one takes the
# floating IP from the server that the others log in to; most clouds skip it.
APART = (r"\.ServerActionsTestJSON\.test_change_server_password",)
DEFAULT_TIMEOUT_S = 1800
EXCLUDE_LIST = f"{WORKSPACE}/left_out"


class TempestError(LabError):
    """Tempest cannot be run, or not to its end."""


class TempestTimeout(TempestError):
    """Tempest was killed when its time was up.

    :param results: what came of the tests until then
    """

    def __init__(self, timeout_s: int, results: list[TestResult]) -> None:
        super().__init__(f"Tempest did not end within {timeout_s} s")
        self.results = results


def prepare(settings: LabSettings, regex: str = PLUGIN_TESTS) -> Host:
    """Make Tempest's workspace on the controller and write its configuration.

    :param regex: which tests are to be run
    :return: the controller
    """
    controller = Host(settings.controller.name, settings)
    env = parse_openrc(controller.read(OPENRC))
    # The plug-in's own tests do without routers, Tempest's do not.
    cloud = connect(settings)
    facts = find_facts(cloud, env, controller, routers=regex != PLUGIN_TESTS)
    if controller.run(["test", "-d", f"{WORKSPACE}/.stestr"], check=False).returncode:
        controller.run(["rm", "-rf", WORKSPACE])
        controller.run([_tempest(settings), "init", WORKSPACE])
    controller.put(f"{WORKSPACE}/etc/tempest.conf", tempest_conf(facts), mode=0o600)
    return controller


def list_tests(controller: Host, regex: str) -> list[str]:
    """Return the tests that a regular expression chooses, with their tags."""
    argv = [_tempest(controller.settings), "run", "--list-tests", "--regex", regex]
    # No shell in between: nothing of the expression is to be quoted.
    done = controller.run(["env", "--chdir", WORKSPACE, *argv], timeout_s=300)
    listed = parse_listed(done.stdout.splitlines())
    if not listed:
        raise TempestError(f"Tempest has no test {regex}: {done.stdout[-400:]}")
    return listed


def run(
    settings: LabSettings,
    regex: str = PLUGIN_TESTS,
    *,
    left_out: Sequence[Rule] = (),
    concurrency: int = 1,
    timeout_s: int = DEFAULT_TIMEOUT_S,
    tests: int = 0,
) -> list[TestResult]:
    """Run tests and show what Tempest prints as it goes.

    :param regex: which tests
    :param left_out: tests to leave out nevertheless
    :param concurrency: tests at the same time
    :param timeout_s: seconds after which Tempest is killed
    :param tests: how many there are, for the progress shown
    :return: the outcome of each test
    :raises TempestTimeout: when it did not end in time
    :raises TempestError: when Tempest did not run any test, or not to its end
    """
    controller = prepare(settings, regex)
    apart = APART if regex == COMPUTE_TESTS else ()
    excluded = [rule.regex for rule in left_out] + list(apart)
    lines: list[str] = []
    for chosen, without in [(regex, excluded), *((test, []) for test in apart)]:
        command = _command(controller, chosen, without, concurrency, timeout_s)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            for shown in _progress(process.stdout, lines, tests):
                print(shown, flush=True)
        results = parse_results(lines)
        if process.returncode in (124, 137):
            raise TempestTimeout(timeout_s, results)
        if not results:
            raise TempestError(f"Tempest ran no test (exit code {process.returncode})")
        if process.returncode and not any(result.outcome == "FAILED" for result in results):
            raise TempestError(f"Tempest ended with exit code {process.returncode}")
    return results


def _command(
    controller: Host, regex: str, without: Sequence[str], concurrency: int, timeout_s: int
) -> list[str]:
    argv = [_tempest(controller.settings), "run", "--regex", regex]
    argv += ["--concurrency", str(concurrency)]
    if without:
        controller.put(EXCLUDE_LIST, "".join(f"{test}\n" for test in without))
        argv += ["--exclude-list", EXCLUDE_LIST]
    command = ["docker", "exec", "--workdir", WORKSPACE, controller.container]
    return [*command, "timeout", "--kill-after=10", str(timeout_s), *argv]


def _progress(output: Iterator[str], lines: list[str], tests: int) -> Iterator[str]:
    """Yield what Tempest prints with the progress, and append it to the lines."""
    began, ended = time.monotonic(), len(parse_results(lines))
    for line in output:
        lines.append(line.rstrip("\n"))
        if tests and parse_results(lines[-1:]):
            ended += 1
            minutes = (time.monotonic() - began) / 60
            yield f"[{minutes:5.1f} min, {ended} of {tests}] {lines[-1]}"
        else:
            yield lines[-1]


def _tempest(settings: LabSettings) -> str:
    return f"{settings.openstack_venv}/bin/tempest"
