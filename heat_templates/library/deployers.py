# SPDX-License-Identifier: Apache-2.0
"""Who else deploys a host's OpenStack, and what is to be done by their own tool.

A service in a container, or one whose files a tool writes anew, is not changed by a step: it is
recognised, and the setting is named that its tool takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from library.step import Step, program_path


@dataclass(frozen=True)
class Deployer:
    """A tool that deploys OpenStack.

    :param name: as its users call it
    :param compute_units: units behind which its nova-compute is
    :param glance_traces: files and directories that it leaves where Glance's API is
    :param glance: how Glance takes container formats with it
    :param compute: what can be done for a nova-compute that stays as it is
    """

    name: str
    compute_units: tuple[str, ...]
    glance_traces: tuple[str, ...]
    glance: str
    compute: str = (
        "leave the host out, or give it a nova-compute of its distribution's or of a virtual "
        "environment first"
    )


DEPLOYERS = (
    Deployer(
        "kolla-ansible",
        ("kolla-nova_compute-container.service",),
        ("/etc/kolla/glance-api",),
        "put [image_format] container_formats into /etc/kolla/config/glance.conf of the deployment "
        "host and run `kolla-ansible reconfigure --tags glance`",
        "the driver needs a Docker Engine, and this container is not Docker's: have kolla-ansible "
        "run its containers with it (kolla_container_engine: docker), or leave the host out",
    ),
    Deployer(
        "EDPM (openstack-operators)",
        ("edpm_nova_compute.service",),
        (),
        "",
        "leave the host out, or take the service nova out of its OpenStackDataPlaneNodeSet, remove "
        "that unit and its container from the host, and give it a nova-compute of its "
        "distribution's or of a virtual environment first",
    ),
    Deployer(
        "TripleO",
        ("tripleo_nova_compute.service",),
        ("/var/lib/config-data/puppet-generated/glance_api",),
        "set image_format/container_formats in ExtraConfig (glance::config::api_config) and update "
        "the overcloud",
    ),
    Deployer(
        "a snap (Sunbeam, MicroStack)",
        (
            "snap.openstack-hypervisor.nova-compute.service",
            "snap.microstack.nova-compute.service",
        ),
        (),
        "",
    ),
    Deployer(
        "OpenStack-Ansible",
        (),
        ("/etc/openstack_deploy",),
        "set container_formats under image_format in glance_glance_api_conf_overrides and run the "
        "playbook os-glance-install.yml",
    ),
)
# Where Apache has its sites.
APACHE_SITES = (
    "/etc/apache2/sites-enabled/*",
    "/etc/httpd/conf.d/*.conf",
    "/etc/apache2/vhosts.d/*.conf",
)
CONTAINER = re.compile(r"docker|libpod|kubepods|containerd|crio|lxc")


def deployer_of(unit: str) -> str:
    """Return the name of the tool whose unit starts nova-compute in a container."""
    return next((tool.name for tool in DEPLOYERS if unit in tool.compute_units), "")


def containerised_compute(step: Step) -> str:
    """Return why nova-compute of this host cannot be converted, as it is no service of the host's.

    Empty where nothing of one is to be seen.
    """
    for deployer in DEPLOYERS:
        for unit in deployer.compute_units:
            if has_unit(step, unit):
                return (
                    f"its nova-compute is deployed by {deployer.name} and runs in a container "
                    f"({unit}), where this bundle cannot install the driver beside Nova: "
                    f"{deployer.compute}"
                )
    pid = process_in_container(step, "nova-compute")
    if pid:
        return (
            f"its nova-compute runs in a container (process {pid}) and not as a service of the "
            "host, so this bundle cannot install the driver beside Nova: leave the host out, or "
            "give it a nova-compute of its distribution's or of a virtual environment first"
        )
    return ""


def has_unit(step: Step, unit: str) -> bool:
    """Return whether a host has a unit."""
    if not program_path("systemctl"):
        return False
    command = ["systemctl", "show", "--no-pager", "-p", "LoadState", unit]
    return "LoadState=loaded" in step.run(command, ok=(0, 1, 4)).stdout


def process_in_container(step: Step, name: str) -> int:
    """Return a process of that name in a container, 0 where there is none."""
    for path in step.path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace").split("\0")[:3]
            place = path.with_name("cgroup").read_text(errors="replace")
        except OSError:
            continue
        if any(Path(word).name == name for word in words if word) and CONTAINER.search(place):
            return int(path.parent.name)
    return 0


def glance_by_deployer(step: Step) -> str:
    """Return how Glance is to be changed by the tool that deployed it, "" where none is seen."""
    for deployer in DEPLOYERS:
        if deployer.glance and any(step.path(name).exists() for name in deployer.glance_traces):
            return f"it is deployed by {deployer.name}: {deployer.glance}"
    for site in (path for glob in APACHE_SITES for path in step.root.glob(glob.lstrip("/"))):
        try:
            text = site.read_text(errors="replace")
        except OSError:
            continue
        if re.search(r"^\s*WSGIScriptAlias\s.*glance", text, re.M):
            return (
                f"Apache runs it ({site.name}): put [image_format] container_formats into "
                "/etc/glance/glance-api.conf and reload Apache"
            )
    return ""
