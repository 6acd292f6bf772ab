# SPDX-License-Identifier: Apache-2.0
"""The addresses of the panel's pages."""

from __future__ import annotations

from django.urls import path

from novadocker_dashboard.content.containers import booting, containers, uploading

urlpatterns = [
    path("", containers.ContainerList.as_view(), name="index"),
    path("boot/", booting.Boot.as_view(), name="boot"),
    path("upload/", uploading.Upload.as_view(), name="upload"),
    path("<uuid:server_id>/log/", containers.Log.as_view(), name="log"),
    path("<uuid:server_id>/<slug:act>/", containers.Act.as_view(), name="act"),
]
