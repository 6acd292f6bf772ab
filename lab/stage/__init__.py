# SPDX-License-Identifier: Apache-2.0
"""This bundle's stage: what is put on the lab's cloud to show the bundle and to test it.

It imports the rest of the lab. Of the lab, `lab.__main__` alone imports it, and hands `BundleStage`
to the command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.hosts.access import Host
from lab.images.wheelhouse import Wheel
from lab.machine import parallel
from lab.machine.progress import Progress
from lab.settings import LabSettings
from lab.stage import blank, bundle, computes, dashboard, enrolment, images


class BundleStage:
    """The bundle on the controller and every host enrolled, as `lab.lifecycle.Stage` describes."""

    projects = (*bundle.PROJECTS, dashboard.PLUGIN)
    locks = bundle.LOCKS
    layers = images.LAYERS
    next_step = "next, enrol it: novadocker-enroll add"

    def set_up(
        self,
        settings: LabSettings,
        progress: Progress,
        controller: Host,
        wheels: Mapping[str, Wheel],
    ) -> None:
        """Install the bundle, load it into Mistral and enrol the hosts of the plan."""

        def take_up() -> None:
            with progress.step("load actions and workbook into Mistral"):
                bundle.take_up(settings, controller, wheels)

        def enrol() -> None:
            with progress.step("enrol the hosts"):
                enrolment.enrol(settings, controller, wheels[bundle.BUNDLE.name])

        def show() -> None:
            with progress.step("install the pages in Horizon"):
                dashboard.install(settings, controller, wheels)

        environment = blank.pool_environment(controller.address, settings.data_interface)
        controller.put(blank.POOL_ENVIRONMENT, environment)
        with progress.step("install the bundle on the controller"):
            is_new = bundle.install(settings, controller, wheels)
        works = [take_up, enrol, show] if is_new else [enrol, show]
        parallel.each(works, lambda work: work())

    def prepare_compute(self, host: Host) -> None:
        """Give a compute host what an operator sets before the Docker driver comes."""
        computes.prepare(host)

    def prepare_blank(self, host: Host, controller: Host) -> None:
        """Give a blank host what the step ``install_nova_compute`` relies on."""
        blank.prepare(host, controller)
