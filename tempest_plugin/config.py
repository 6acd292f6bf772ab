# SPDX-License-Identifier: Apache-2.0
"""Options that the plug-in adds to tempest.conf."""

from __future__ import annotations

from oslo_config import cfg

service_option = cfg.BoolOpt(
    "novadocker",
    default=True,
    help="Whether hosts of this cloud were converted to Docker hypervisors.",
)

novadocker_group = cfg.OptGroup(
    name="novadocker", title="Containers as Nova instances, and the workflows that make them"
)

NovadockerGroup = [
    cfg.StrOpt(
        "catalog_type",
        default="workflowv2",
        help="Catalog type of the workflow service that runs the novadocker workbook.",
    ),
    cfg.StrOpt(
        "region",
        default="",
        help="Region of the workflow service; [identity] region when empty.",
    ),
    cfg.StrOpt(
        "endpoint_type",
        default="publicURL",
        choices=["public", "admin", "internal", "publicURL", "adminURL", "internalURL"],
        help="Endpoint of the workflow service to talk to.",
    ),
    cfg.IntOpt(
        "build_timeout",
        default=300,
        min=1,
        help="Seconds within which a workflow execution or a container's output is awaited.",
    ),
    cfg.IntOpt(
        "build_interval",
        default=1,
        min=1,
        help="Seconds between two looks at what is awaited.",
    ),
    cfg.StrOpt(
        "image_ref",
        help="Glance ID of a docker image with a shell and ping, such as a published busybox; "
        "[compute] image_ref when empty.",
    ),
    cfg.IntOpt(
        "min_hypervisors",
        default=1,
        min=1,
        help="How many hypervisors of type docker the cloud must have. With two or more, the "
        "scenario's containers run on different hosts (ServerGroupAntiAffinityFilter).",
    ),
]

novadocker_feature_group = cfg.OptGroup(
    name="novadocker-feature-enabled", title="What the converted cloud offers"
)

NovadockerFeatureGroup = [
    cfg.BoolOpt(
        "workflows",
        default=True,
        help="Whether the novadocker workbook is loaded. Without it the hosts were converted "
        "by Heat alone and the workflow tests are skipped.",
    ),
    cfg.BoolOpt(
        "command_line",
        default=True,
        help="Whether users may set the image property os_command_line, by which the scenario "
        "tests give a container its command.",
    ),
    cfg.BoolOpt(
        "traits",
        default=True,
        help="Whether resource providers of Docker hosts carry CUSTOM_HYPERVISOR_DOCKER.",
    ),
]
