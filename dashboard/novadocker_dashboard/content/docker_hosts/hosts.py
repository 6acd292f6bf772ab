# SPDX-License-Identifier: Apache-2.0
"""The list of hosts, of which some are chosen for a run."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from novadocker_client import hosts
from novadocker_client.meanings import WORKFLOWS
from novadocker_dashboard import pages, paging, rights
from novadocker_dashboard.content.docker_hosts import filters, starting


class HostList(pages.Page):
    """All compute hosts and enrolled controllers."""

    rules = rights.SEE
    template = "novadocker/docker_hosts/hosts.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the hosts that the filter lets pass, a page of them."""
        listing = hosts.Listing()
        with self.asking():
            listing = hosts.listed(self.cloud)
        self.faults += [str(fault) for fault in listing.faults]
        wanted = filters.read(request.GET)
        matching = [host for host in listing.hosts if wanted.lets_pass(host)]
        return self.show(
            {
                "tab": "hosts",
                "wanted": wanted,
                "choices": filters.choices(listing.hosts),
                "total": len(listing.hosts),
                "docker": sum(host.is_docker for host in listing.hosts),
                "found": len(matching),
                "page": paging.page(matching, request.GET, self.page_size),
                "kept": paging.kept(request.GET, *filters.names()),
                # So that all hosts that are found can be chosen, and not only those of this page.
                "all_names": "\n".join(host.name for host in matching),
                "workflows": [
                    (name, WORKFLOWS[name])
                    for name, rules in starting.STARTED.items()
                    if rights.may(request, rules)
                ],
            }
        )
