# SPDX-License-Identifier: Apache-2.0
# Admin > Compute > Docker hosts.
PANEL = "docker_hosts"
PANEL_DASHBOARD = "admin"
PANEL_GROUP = "compute"
ADD_PANEL = "novadocker_dashboard.content.docker_hosts.panel.DockerHosts"
