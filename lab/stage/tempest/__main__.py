# SPDX-License-Identifier: Apache-2.0
"""Tempest on the lab.

    python -m lab.stage.tempest [--regex REGEX | --compute] [--convert] [--results FILE] ...

Everything about the cloud is asked from the cloud's APIs; what containers can and cannot do is
stated in lab/stage/tempest/conf.py. It exits with 1 where a test fails that is not known to.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import sys
import time

import openstack.exceptions

from lab.client.connection import connect
from lab.errors import LabError
from lab.settings import LabSettings
from lab.stage.tempest import report, results, runner
from lab.stage.tempest.facts import convert

HERE = pathlib.Path(__file__).parent
COMPUTE_TIMEOUT_S = 7200


def run(args: argparse.Namespace) -> tuple[results.Summary, float]:
    """Run what the command line chooses.

    :return: what came of it, and the seconds that it took
    """
    settings = LabSettings()
    if args.convert:
        print("novadocker.deploy", flush=True)
        convert(connect(settings))
    regex = runner.COMPUTE_TESTS if args.compute else args.regex
    left_out = results.parse_rules((HERE / "left_out.txt").read_text())
    known = results.parse_rules((HERE / "known_failures.txt").read_text())
    listed = runner.list_tests(runner.prepare(settings, regex), regex)
    began = time.monotonic()
    try:
        outcomes = runner.run(
            settings,
            regex,
            left_out=left_out,
            concurrency=args.concurrency,
            timeout_s=args.timeout,
            tests=len(listed),
        )
    except runner.TempestTimeout as err:
        print(f"FAILED: {err}", flush=True)
        outcomes = err.results
    took_s = time.monotonic() - began
    return results.summarise(listed, outcomes, left_out, known), took_s


def write(args: argparse.Namespace, summary: results.Summary, took_s: float) -> None:
    """Write the record, where it is asked for."""
    if args.results:
        today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        machine = f"a machine of {os.cpu_count()} cores, {args.concurrency} at a time, on {today}"
        record = report.record(summary, machine, took_s)
        args.results.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Run Tempest on the lab; exit with 1 when a test failed that is not known to."""
    parser = argparse.ArgumentParser(prog="python -m lab.stage.tempest", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--regex", default=runner.PLUGIN_TESTS, help="which tests (the plug-in's)")
    which.add_argument("--compute", action="store_true", help="api.compute and the scenarios")
    parser.add_argument("--convert", action="store_true", help="run novadocker.deploy first")
    parser.add_argument("--results", type=pathlib.Path, help="write the outcomes here, as JSON")
    parser.add_argument("--concurrency", type=int, help="tests at once (2 of --compute, else 1)")
    parser.add_argument("--timeout", type=int, default=COMPUTE_TIMEOUT_S, help="seconds")
    parser.add_argument("--prepare", action="store_true", help="write tempest.conf and stop")
    args = parser.parse_args()
    args.concurrency = args.concurrency or (2 if args.compute else 1)
    try:
        if args.prepare:
            runner.prepare(LabSettings(), runner.COMPUTE_TESTS if args.compute else args.regex)
            return
        summary, took_s = run(args)
    except (LabError, openstack.exceptions.SDKException) as err:
        sys.exit(f"FAILED: {err}")
    write(args, summary, took_s)
    for result in summary.unexpected:
        print(f"FAILED {result.test}: {result.reason or 'see above'}")
    print(f"figures: {summary.figures}; {took_s / 60:.0f} minutes")
    sys.exit(1 if summary.unexpected else 0)


if __name__ == "__main__":
    main()
