# SPDX-License-Identifier: Apache-2.0
# Project > Compute > Containers.
PANEL = "docker_containers"
PANEL_DASHBOARD = "project"
PANEL_GROUP = "compute"
ADD_PANEL = "novadocker_dashboard.content.containers.panel.Containers"
