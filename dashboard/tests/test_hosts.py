# SPDX-License-Identifier: Apache-2.0
"""The list of hosts."""

from __future__ import annotations

import re

from novadocker_client.hosts import Enrolment, Host
from novadocker_dashboard.content.docker_hosts import filters
from tests.cases import HOSTS, AdminPageTests

RUN = "01234567-89ab-cdef-0123-456789abcdef"


def shown(page: str) -> list[str]:
    """Return the names of the hosts that a page shows."""
    return re.findall('name="host" value="([^"]+)"', page)


class HostListTests(AdminPageTests):
    """What the list shows."""

    def test_hosts_are_listed_with_what_nova_and_heat_know(self) -> None:
        """A Docker hypervisor that is enrolled and that a run has taken out of service."""
        self.fake.add_host(
            "docker-1",
            hypervisor_type="docker",
            running_vms=3,
            status="disabled",
            disabled_reason=f"novadocker: {RUN}",
        )
        self.fake.enrol("rack-1", "docker-1")
        text = self.look(HOSTS + "index").content.decode()
        for told in ("docker-1", "docker", "<td>3</td>", "disabled", "rack-1", "COMPLETE"):
            self.assertIn(told, text)
        self.assertIn(f"/admin/docker_hosts/runs/{RUN}/", text)

    def test_a_filter_is_applied_and_can_be_taken_away(self) -> None:
        """By type here; each word of the filter has a test below."""
        self.fake.add_host("vm-1")
        self.fake.add_host("docker-1", hypervisor_type="docker")
        page = self.look(HOSTS + "index", type="docker").content.decode()
        self.assertEqual(["docker-1"], shown(page))
        self.assertIn("1 of 2 hosts", page)
        self.assertIn("Show all", page)

    def test_a_page_is_as_long_as_the_user_wants_it_and_keeps_the_filter(self) -> None:
        """By the setting of Horizon's own."""
        for number in range(45):
            self.fake.add_host(f"host-{number:02}")
        page = self.look(HOSTS + "index", name="host", page=2).content.decode()
        self.assertEqual([f"host-{number}" for number in range(20, 40)], shown(page))
        self.assertIn('href="?name=host&amp;page=3"', page)

    def test_hosts_are_shown_without_what_heat_would_tell(self) -> None:
        """The page stays, and says that Heat is away."""
        self.fake.add_host("vm-1")
        self.fake.faults["/heat"] = (500, None)
        response = self.look(HOSTS + "index")
        self.assertEqual(200, response.status_code)
        self.assertIn("Heat does not list", response.content.decode())
        self.assertEqual(["vm-1"], shown(response.content.decode()))


HOST = Host(
    "Docker-1",
    hypervisor_type="docker",
    instances=2,
    state="up",
    status="disabled",
    reason=f"novadocker: {RUN}",
    enrolment=Enrolment("rack-1"),
)


def test_each_word_of_a_filter_lets_a_host_pass_or_not() -> None:
    """What fits, and what does not."""
    fitting = {
        "name": "docker",
        "type": "docker",
        "state": "up",
        "status": "disabled",
        "reason": "NOVADOCKER",
        "pool": "rack-1",
        "instances": "some",
    }
    assert set(fitting) == set(filters.names())
    assert filters.read(fitting).lets_pass(HOST)
    for name in fitting:
        other = "none" if name == "instances" else "other"
        assert not filters.read({**fitting, name: other}).lets_pass(HOST), name


def test_an_empty_filter_lets_all_pass_and_says_that_it_is_empty() -> None:
    """Whatever else is in the query."""
    empty = filters.read({"page": "3", "name": "  "})
    assert not empty
    assert empty.lets_pass(HOST)
    assert empty.lets_pass(Host("unknown"))
