# SPDX-License-Identifier: Apache-2.0
"""Reading the operator's credentials, and reaching the cloud from the machine."""

from lab.cloud import parse_openrc, reachable

ADDRESSES = {"controller": "10.88.0.10"}


def test_openrc_is_read_as_a_shell_would() -> None:
    text = "# comment\nexport OS_USERNAME=admin\nexport OS_PASSWORD='a b=c'\nOS_REGION_NAME=R\n\n"
    assert parse_openrc(text) == {
        "OS_USERNAME": "admin",
        "OS_PASSWORD": "a b=c",
        "OS_REGION_NAME": "R",
    }


def test_host_name_of_the_lab_becomes_its_address() -> None:
    assert reachable("http://controller:8774/v2.1", ADDRESSES) == "http://10.88.0.10:8774/v2.1"
    assert reachable("http://controller/x?y=1", ADDRESSES) == "http://10.88.0.10/x?y=1"


def test_other_url_stays_as_it_is() -> None:
    assert reachable("https://example.org:5000/v3", ADDRESSES) == "https://example.org:5000/v3"
