# SPDX-License-Identifier: Apache-2.0
"""What operators and pages ask of a cloud with Docker hypervisors.

    from novadocker_client.connection import Cloud
    from novadocker_client.runs import Runs

    cloud = Cloud(openstack.connect())
    run = Runs(cloud).start("plan", {"match": "docker"}, description="before the maintenance")

``runs`` starts, lists, follows and stops runs; ``progress`` tells how far one has come; ``reports``
reads what it says at its end and writes it as a table, JSON, JUnit's XML or a page; ``hosts`` and
``images`` tell what there is; ``meanings`` has the words for workflows, inputs and steps. Every
fault is one of ``errors``. Nothing here needs Mistral's own packages.
"""

from __future__ import annotations

__version__ = "0.1.0"
