# SPDX-License-Identifier: Apache-2.0
"""What a report has of each host, in the files that the client writes of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from novadocker_client import reports
from novadocker_client.reports import junit, page
from tests.functional.workbooks.fake_cloud import FakeCloud
from tests.functional.workbooks.in_process import Mistral
from tests.functional.workbooks.results import rows


def test_a_report_tells_how_long_hosts_took_and_were_out_of_service_and_what_a_log_says_last(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    good, bad = "compute-docker-1", "compute-docker-2"
    cloud.hosts[bad].faults["configure_compute", "apply"] = "fail"
    cloud.step_s = 1.0

    run = mistral.run("novadocker.deploy", {"batch_size": 1, "max_failed": 1})

    assert run["state"] == "SUCCESS", mistral.tree(run["id"])
    told = rows(run)[good]
    assert set(told["steps"]) == {
        *("install_docker", "install_driver", "configure_compute", "verify_host")
    }
    assert told["seconds"] == round(sum(told["steps"].values()), 1)
    assert told["out_of_service_s"] >= 1
    assert "log_tail" not in told
    failed = rows(run)[bad]
    assert failed["log_tail"] == "12:00:00 configure_compute: what came last\n"
    # It is in service again: what it was out is known.
    assert failed["out_of_service_s"] >= 1

    report = reports.read(run["output"]["report"])
    suite = ET.fromstring(junit.write(report, "novadocker.deploy"))
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert cases[good].get("time") == f"{told['seconds']:g}"
    assert "what came last" in str(cases[bad].findtext("failure"))
    text = page.write(report, "novadocker.deploy")
    assert f"{told['out_of_service_s']} s" in text
    assert "what came last" in text


def test_a_host_that_is_left_out_of_service_says_since_when(
    mistral: Mistral, cloud: FakeCloud
) -> None:
    host = cloud.hosts["compute-docker-1"]
    host.faults["configure_compute", "apply"] = "fail"
    host.faults["install_driver", "roll_back"] = "fail"

    run = mistral.run("novadocker.deploy", {"hosts": host.name, "images": []})

    row = rows(run)[host.name]
    assert host.status == "disabled"
    assert row["out_of_service_since"].endswith("+00:00")
    assert "out_of_service_s" not in row
