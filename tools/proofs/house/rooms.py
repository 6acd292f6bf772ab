# SPDX-License-Identifier: Apache-2.0
"""The rooms, their wings and what the rules allow: the data of ``stands.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MODULE_LINES = 450
# A file of the host steps' library is sent with each step: it is one idea, seen at once.
LIBRARY_LINES = 230
FUNCTION_LINES = 60
# Of code the linter holds it.
LINE_CHARACTERS = 100


@dataclass(frozen=True)
class Room:
    """A room, and the order of its wings.

    :param root: the directory that its modules are imported from
    :param packages: what of the root it is
    :param floors: from the top down; a wing imports from lower floors only, and from itself. The
        wings of a floor, by name, are beginnings of modules' names, of which the longest counts;
        one that begins with = is that module alone
    :param imports: other rooms that it may import
    """

    root: str
    packages: tuple[str, ...]
    floors: tuple[Mapping[str, tuple[str, ...]], ...]
    imports: tuple[str, ...] = ()


_DOCKER = "novadocker.virt.docker"

ROOMS: Mapping[str, Room] = {
    "driver": Room(
        "driver",
        ("novadocker",),
        (
            {"commands": ("novadocker.cmd",)},
            {"driver": (f"={_DOCKER}", f"{_DOCKER}.driver")},
            {"face": (f"{_DOCKER}.face",)},
            {"parts": (f"{_DOCKER}.parts",)},
            {"instances": (f"{_DOCKER}.instances",)},
            {
                "images": (f"{_DOCKER}.images",),
                "network": (f"{_DOCKER}.network",),
                "volumes": (f"{_DOCKER}.volumes",),
            },
            {"engine": (f"{_DOCKER}.engine",)},
            {"host": (f"{_DOCKER}.host",)},
            {
                "privsep": ("novadocker.privsep",),
                "base": ("novadocker.conf", "novadocker.compat", "novadocker._alias"),
            },
            {
                "exceptions": ("novadocker.exceptions",),
                "types": ("novadocker.types",),
                "package": ("=novadocker", "=novadocker.virt"),
            },
        ),
    ),
    "actions": Room(
        ".",
        ("novadocker_actions",),
        (
            {"commands": ("novadocker_actions.cmd", "novadocker_actions.site_archive")},
            {"actions": ("novadocker_actions.actions",)},
            {"enrolment": ("novadocker_actions.enrolment",)},
            {"cloud": ("novadocker_actions.cloud",)},
            {"plan": ("novadocker_actions.plan", "novadocker_actions.recipes")},
            {
                "host steps": (
                    "novadocker_actions.host_steps",
                    "novadocker_actions.schema",
                    "novadocker_actions.host_package",
                    "novadocker_actions.driver_wheel",
                )
            },
            {
                "base": (
                    "novadocker_actions.errors",
                    "novadocker_actions.resources",
                    "=novadocker_actions",
                )
            },
        ),
    ),
    "host steps": Room(
        "heat_templates",
        ("configs", "library"),
        (
            {"steps": ("configs",)},
            {"mailbox": ("library.inbox",)},
            {"recipe": ("library.recipe",)},
            {"program": ("library.outcome", "library.watchdog")},
            {
                "packages": (
                    *("library.packages", "library.package_manager"),
                    *("library.apt", "library.apt_locks", "library.rpm", "library.module_streams"),
                ),
                "host": ("library",),
            },
            {"run": ("library.step", "library.changes", "library.records")},
            {"base": ("library.faults", "library.files", "library.settings")},
        ),
        # Probes run in Nova's own Python, where the driver is.
        ("driver",),
    ),
    # What is around Heat's agent on a host: it knows neither steps nor their library.
    "agent": Room("heat_templates", ("agent",), ({"agent": ("agent",)},)),
    "client": Room(
        ".",
        ("novadocker_client",),
        (
            {"commands": ("novadocker_client.osc",)},
            {
                "runs": (
                    "novadocker_client.again",
                    "novadocker_client.runs",
                    "novadocker_client.lost_tasks",
                    "novadocker_client.signals",
                ),
                "things": ("novadocker_client.hosts", "novadocker_client.images"),
            },
            {"events": ("novadocker_client.events",)},
            {"progress": ("novadocker_client.progress",)},
            {"holds": ("novadocker_client.holds",), "ended": ("novadocker_client.ended",)},
            {"files": ("novadocker_client.reports.junit", "novadocker_client.reports.page")},
            {"reports": ("=novadocker_client.reports",)},
            {"pages": ("novadocker_client.pages",)},
            {"connection": ("novadocker_client.connection",)},
            {
                "base": (
                    "novadocker_client.errors",
                    "novadocker_client.meanings",
                    "novadocker_client.readable",
                    "=novadocker_client",
                )
            },
        ),
    ),
    "dashboard": Room(
        "dashboard",
        ("novadocker_dashboard",),
        (
            {
                "switches": (
                    "novadocker_dashboard.enabled",
                    "novadocker_dashboard.local_settings",
                ),
                "card": ("novadocker_dashboard.templatetags.novadocker_card",),
            },
            {
                "docker hosts": ("novadocker_dashboard.content.docker_hosts",),
                "containers": ("novadocker_dashboard.content.containers",),
            },
            {"pages": ("novadocker_dashboard.pages", "=novadocker_dashboard.content")},
            {
                "base": (
                    "novadocker_dashboard.cloud",
                    "novadocker_dashboard.paging",
                    "novadocker_dashboard.rights",
                    "novadocker_dashboard.sending",
                    "novadocker_dashboard.templatetags",
                    "=novadocker_dashboard",
                )
            },
        ),
        ("client",),
    ),
    # The entrance of what is installed on hosts.
    "package": Room(
        "heat_templates", ("package",), ({"package": ("package",)},), ("host steps", "agent")
    ),
    "lab": Room(
        ".",
        ("lab",),
        (
            # This bundle's part of it. The general part, below, knows no bundle.
            {"stage": ("lab.stage", "lab.__main__")},
            {"command line": ("lab.cli",)},
            {"lifecycle": ("lab.lifecycle",)},
            {"control plane": ("lab.controlplane",)},
            {"client": ("lab.client",), "images": ("lab.images",)},
            {"hosts": ("lab.hosts",)},
            {"machine": ("lab.machine",)},
            {"base": ("lab.settings", "lab.errors", "=lab")},
        ),
        ("client",),
    ),
    "tempest plug-in": Room(
        ".",
        ("tempest_plugin",),
        (
            {"tests": ("tempest_plugin.tests",)},
            {"plug-in": ("tempest_plugin.plugin",)},
            {"services": ("tempest_plugin.services",), "base": ("tempest_plugin",)},
        ),
    ),
    "benchmarks": Room(
        ".", ("benchmarks",), ({"benchmarks": ("benchmarks",)},), ("lab", "actions", "client")
    ),
    "reference": Room(
        "doc/ext",
        ("novadocker_reference",),
        ({"extension": ("novadocker_reference",)},),
        ("actions", "client", "driver"),
    ),
}

# Code that is in no room.
OUTSIDE: Mapping[str, str] = {
    "tests": "tests are bound by the rules on names and on tests only",
    "driver/novadocker/tests": "the same",
    "novadocker_client/tests": "the same",
    "dashboard/tests": "the same",
    "tools/proofs": "the proofs look at the rooms from outside",
    "setup.py": "packaging",
    "driver/setup.py": "packaging",
    "doc/source/conf.py": "Sphinx's settings",
    "releasenotes/source/conf.py": "Sphinx's settings",
}
# The packages that tests are in, as an import names them.
OWN_TESTS = ("tests", "driver", "novadocker", "novadocker_client", "tempest_plugin")
# Such a name says where a line was put, not what it does.
NO_NAMES = frozenset({"utils", "helpers", "common", "misc"})
# Nor does such a name of a variable or a parameter say what it holds.
NO_VARIABLES = frozenset({"found", "one"})
# Nor do such words say what a function does, with which its docstring begins.
NO_BEGINNINGS = tuple(
    f"{words} "
    for words in (
        *("A", "After", "All", "An", "Before", "How", "If", "Its", "One", "Tell whether", "The"),
        *("There", "This", "What", "When", "Where", "Whether", "Which"),
    )
)

# Modules that import within a function, with the reason.
LATE: Mapping[str, str] = {
    "driver/novadocker/cmd/check.py": "a part that cannot be imported fails its own check only",
    "driver/novadocker/cmd/compute.py": "the alias is there before Nova is loaded",
    "driver/novadocker/conf.py": "the options are listed without Nova",
    "driver/novadocker/virt/docker/__init__.py": "a wing is loaded without the driver's face",
    "lab/controlplane/onhost/serve_wsgi.py": "only a service's environment has the server",
    "novadocker_client/osc/plugin.py": "other commands of openstack do not wait for what it loads",
    "heat_templates/library/engine_access.py": "a part runs alone, in the Python of a container",
    "heat_templates/library/glance_formats.py": "it runs alone, in the Python of Glance",
    "heat_templates/library/probes.py": "each function runs alone, in the Python of a service",
}

# Nova's exceptions are named where the driver speaks Nova, and there only.
NOVA_EXCEPTIONS = "nova.exception"
SPEAK_NOVA = ("novadocker.virt.docker.face",)
NAME_NOVA_EXCEPTIONS: Mapping[str, str] = {
    "novadocker.compat": "finds what a release of Nova calls the end of a wait",
    "novadocker.virt.docker.network.waiting": "Nova's own wait raises it",
    "novadocker.virt.docker.instances.migrations": "the compute manager has to see its own class",
}

# Longer than the rule, with the reason.
LONG: Mapping[str, str] = {}
