# SPDX-License-Identifier: Apache-2.0
"""The addresses of the panel's pages.

``runs/<id>/`` is what a run's message ends with: it stays what it is.
"""

from __future__ import annotations

from django.urls import path

from novadocker_dashboard.content.docker_hosts import (
    approving,
    hosts,
    images,
    runs,
    starting,
    stopping,
)

urlpatterns = [
    path("", hosts.HostList.as_view(), name="index"),
    path("images/", images.ImageList.as_view(), name="images"),
    path(
        "images/publish/",
        starting.Publish.as_view(),
        {"workflow": "preload_images"},
        name="publish",
    ),
    path("start/<slug:workflow>/", starting.Start.as_view(), name="start"),
    path("runs/", runs.RunList.as_view(), name="runs"),
    path("runs/<uuid:run_id>/", runs.RunPage.as_view(), name="run"),
    path("runs/<uuid:run_id>/report/<slug:form>/", runs.ReportFile.as_view(), name="report"),
    path("runs/<uuid:run_id>/deploy/", starting.Deploy.as_view(), name="deploy"),
    path("runs/<uuid:run_id>/approve/", approving.Approve.as_view(), name="approve"),
    path("runs/<uuid:run_id>/stop/", stopping.Stop.as_view(), name="stop"),
]
