# SPDX-License-Identifier: Apache-2.0
"""The form that makes an image of an archive that ``docker save`` wrote."""

from __future__ import annotations

import shlex
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from openstack.exceptions import raise_from_response

from novadocker_client import images
from novadocker_client.connection import GLANCE, Cloud
from novadocker_client.errors import ClientError, asking
from novadocker_dashboard import pages, rights, sending
from novadocker_dashboard.content.containers import servers
from novadocker_dashboard.content.containers.containers import LIST

# Where a tar archive says that it is one.
_MAGIC, _MAGIC_AT = b"ustar", 257


class UploadForm(forms.Form):
    """An archive, and what its image is called."""

    name = forms.CharField(label=_("Name"), max_length=255)
    archive = forms.FileField(
        label=_("Archive"), help_text=_("As docker save writes it, with exactly one image in it.")
    )

    command = forms.CharField(
        label=_("Command"),
        help_text=_("What its containers run, with quotes as in a shell; else the image's own."),
        max_length=255,
        required=False,
    )

    def __init__(self, data: Any = None, files: Any = None) -> None:
        super().__init__(data, files)
        for name in ("name", "command"):
            self.fields[name].widget.attrs["class"] = "form-control"
        for name in ("archive", "command"):
            self.fields[name].widget.attrs["aria-describedby"] = f"help-{name}"

    def clean_command(self) -> str:
        """Return the command.

        :raises ValidationError: when it cannot be split into arguments, as the hypervisor splits it
        """
        command = str(self.cleaned_data["command"])
        try:
            shlex.split(command)
        except ValueError as err:
            raise forms.ValidationError(_("Its quotes do not end: %s.") % err) from err
        return command

    def clean_archive(self) -> UploadedFile:
        """Return the archive. What is in it the hypervisor checks.

        :raises ValidationError: when it is no tar archive
        """
        archive: UploadedFile = self.cleaned_data["archive"]
        archive.seek(_MAGIC_AT)
        magic = archive.read(len(_MAGIC))
        archive.seek(0)
        if magic != _MAGIC:
            raise forms.ValidationError(_("It is no tar archive: use docker save -o FILE IMAGE."))
        return archive


class Upload(pages.Page):
    """Makes an image of an archive."""

    rules = rights.UPLOAD
    template = "novadocker/containers/upload.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form."""
        return self._form(UploadForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make the image."""
        form = UploadForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._form(form, 400)
        given = form.cleaned_data
        try:
            with (
                self.asking(),
                sending.once(request.user.id, request.POST.get(sending.FIELD, "")) as sent,
            ):
                sent.result = upload(self.cloud, **given)
                return self.leave(reverse(LIST), said=_("The image %s is there.") % given["name"])
        except sending.SentBefore as err:
            return self.leave(reverse(LIST), failed=str(err))
        return self._form(form, pages.NOT_DONE)

    def _form(self, form: UploadForm, status: int = 200) -> HttpResponse:
        once = self.request.POST.get(sending.FIELD) or sending.token()
        return self.show({"form": form, "once": once}, status)


def upload(cloud: Cloud, name: str, archive: UploadedFile, command: str = "") -> str:
    """Make a docker image; return its id. Half an image is not left behind.

    :param archive: as ``docker save`` writes it; it is not read into memory
    :param command: what its containers run, "" for the image's own command
    :raises ClientError: when Glance does not take it
    """
    record = {
        "name": name,
        "container_format": images.FORMAT,
        "disk_format": "raw",
        servers.HYPERVISOR: servers.DOCKER,
        **({servers.COMMAND: command} if command else {}),
    }
    glance = cloud.connection.image
    with asking(GLANCE, f"make the image {name}"):
        answer = glance.post("/images", json=record)
        raise_from_response(answer)
    key = str(answer.json()["id"])
    try:
        with asking(GLANCE, f"take the archive of {name}"):
            answer = glance.put(
                f"/images/{key}/file",
                data=archive.file,
                headers={"Content-Type": "application/octet-stream"},
            )
            raise_from_response(answer)
    except ClientError:
        with asking(GLANCE, f"delete the image {key}, of which it has a part"):
            raise_from_response(glance.delete(f"/images/{key}"))
        raise
    return key
