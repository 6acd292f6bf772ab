# SPDX-License-Identifier: Apache-2.0
"""The form that boots a container."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from novadocker_client import images
from novadocker_client.connection import NOVA
from novadocker_client.errors import asking
from novadocker_dashboard import pages, rights, sending
from novadocker_dashboard.content.containers import servers
from novadocker_dashboard.content.containers.containers import LIST

# Of Nova's metadata.
_LONGEST_CHARS = 255
_NEUTRON = "Neutron"

Choices = list[tuple[str, str]]


class Environment(forms.CharField):
    """Variables, NAME=value, one a line."""

    widget = forms.Textarea(attrs={"rows": 4})

    def to_python(self, value: Any) -> dict[str, str]:
        """Return the variables.

        :raises ValidationError: naming the line that is none
        """
        variables = {}
        for number, line in enumerate((super().to_python(value) or "").splitlines(), 1):
            if not line.strip():
                continue
            name, equals, text = line.strip().partition("=")
            if not (name and equals):
                raise forms.ValidationError(
                    _("Line %(number)s is not NAME=value."), params={"number": number}
                )
            if max(len(name), len(text)) > _LONGEST_CHARS:
                raise forms.ValidationError(
                    _("Line %(number)s: Nova takes %(chars)s characters at most."),
                    params={"number": number, "chars": _LONGEST_CHARS},
                )
            variables[name] = text
        return variables


class BootForm(forms.Form):
    """What a container is booted with."""

    name = forms.CharField(label=_("Name"), max_length=255)
    image = forms.ChoiceField(
        label=_("Image"),
        help_text=_("It says what is run: its own command, or its property os_command_line."),
    )
    flavor = forms.ChoiceField(
        label=_("Flavor"), help_text=_("Its memory and cores are the container's limits.")
    )
    network = forms.MultipleChoiceField(label=_("Network"))
    environment = Environment(
        label=_("Environment"),
        help_text=_("Variables of the command, NAME=value, one a line."),
        required=False,
    )

    def __init__(self, data: Any, choices: dict[str, Choices]) -> None:
        super().__init__(data)
        for name, told in choices.items():
            self.fields[name].choices = told
        for name, field in self.fields.items():
            field.widget.attrs["class"] = "form-control"
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"help-{name}"


class Boot(pages.Page):
    """Boots a container from a docker image."""

    rules = rights.BOOT
    template = "novadocker/containers/boot.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form."""
        return self._form(BootForm(None, self._choices()))

    def post(self, request: HttpRequest) -> HttpResponse:
        """Boot the container when the form has been filled in."""
        form = BootForm(request.POST, self._choices())
        if not form.is_valid():
            return self._form(form, 400)
        wanted = form.cleaned_data
        try:
            with (
                self.asking(),
                sending.once(request.user.id, request.POST.get(sending.FIELD, "")) as sent,
            ):
                sent.result = servers.boot(
                    self.cloud,
                    name=wanted["name"],
                    image=wanted["image"],
                    flavor=wanted["flavor"],
                    networks=wanted["network"],
                    environment=wanted["environment"],
                )
                return self.leave(reverse(LIST), said=_("%s is being booted.") % wanted["name"])
        except sending.SentBefore as err:
            return self.leave(reverse(LIST), failed=str(err))
        return self._form(form, pages.NOT_DONE)

    def _choices(self) -> dict[str, Choices]:
        cloud = self.cloud
        choices: dict[str, Choices] = {"image": [], "flavor": [], "network": []}
        with self.asking():
            choices["image"] = [
                (image.id, image.name or image.id)
                for image in images.listed(cloud)
                if image.status == "active"
            ]
        with self.asking(), asking(NOVA, "list flavors"):
            choices["flavor"] = [
                (str(flavor.id), f"{flavor.name}: {flavor.vcpus} VCPU, {flavor.ram} MB")
                for flavor in cloud.connection.compute.flavors()
            ]
        with self.asking(), asking(_NEUTRON, "list networks"):
            choices["network"] = [
                (str(network.id), str(network.name or network.id))
                for network in cloud.connection.network.networks()
                # Neutron shows external ones too, to which only administrators connect.
                if network.project_id == self.request.user.tenant_id or network.is_shared
            ]
        return choices

    def _form(self, form: BootForm, status: int = 200) -> HttpResponse:
        once = self.request.POST.get(sending.FIELD) or sending.token()
        return self.show({"form": form, "once": once}, status)
