# SPDX-License-Identifier: Apache-2.0
"""The form of a workflow's inputs, made of what they mean."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from novadocker_client import meanings
from novadocker_client.meanings import Input

# Chosen by the page: hosts are named, never searched for, and a digest comes with its plan. A list
# of sizes is for the command line. Images are preloaded, or published from a page of their own.
_NOT_ASKED = (
    *("match", "if_none_match", "where", "plan_digest", "report_url", "batch_sizes"),
    "preload",
)
_DESCRIPTION_CHARS = 250


class Names(forms.CharField):
    """Names, one a line or with spaces or commas between them."""

    widget = forms.Textarea(attrs={"rows": 4})

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field."""
        return value if isinstance(value, str) or value is None else "\n".join(map(str, value))

    def to_python(self, value: Any) -> list[str]:
        """Return the names, each once."""
        return list(dict.fromkeys((super().to_python(value) or "").replace(",", " ").split()))

    def validate(self, value: Any) -> None:
        """Require names where the field is required."""
        if self.required and not value:
            raise forms.ValidationError(self.error_messages["required"], code="required")


class Share(forms.CharField):
    """A number, or a percentage."""

    def to_python(self, value: Any) -> int | str:
        """Return the number, or the percentage as it is.

        :raises ValidationError: when it is neither
        """
        text = super().to_python(value) or ""
        try:
            return meanings.share(text) if text else ""
        except ValueError as err:
            raise forms.ValidationError(_("Give a number, or a percentage such as 5%.")) from err


class Settings(forms.CharField):
    """An object, as JSON."""

    widget = forms.Textarea(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        """Return what stands in the field."""
        return value if isinstance(value, str) or value is None else json.dumps(value)

    def to_python(self, value: Any) -> dict[str, Any]:
        """Return the object.

        :raises ValidationError: when it is none
        """
        text = super().to_python(value)
        try:
            told = json.loads(text or "{}")
        except ValueError as err:
            raise forms.ValidationError(_("It is no JSON: %s.") % err) from err
        if not isinstance(told, dict):
            raise forms.ValidationError(_("It is no JSON object, such as {}."))
        return told


class InputsForm(forms.Form):
    """The inputs of a workflow.

    :param workflow: name without the workbook's
    :param data: what was filled in
    :param given: inputs that are filled in already
    :param without: inputs that are not asked for
    """

    description = forms.CharField(
        label=_("Description"),
        help_text=_("Why, or for whom; it is shown with the run."),
        max_length=_DESCRIPTION_CHARS,
        required=False,
    )

    def __init__(
        self,
        workflow: str,
        data: Any = None,
        *,
        given: Mapping[str, Any] | None = None,
        without: Collection[str] = (),
    ) -> None:
        super().__init__(data, initial=dict(given or {}))
        self._names = [
            name
            for name in meanings.WORKFLOWS[workflow].inputs
            if name not in (*_NOT_ASKED, *without)
        ]
        for name in self._names:
            self.fields[name] = _field(name, meanings.INPUTS[name])
        self.order_fields(["hosts", "description", *self._names])
        for name, field in self.fields.items():
            if not isinstance(field, forms.BooleanField):
                field.widget.attrs["class"] = "form-control"
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"help-{name}"

    def inputs(self) -> dict[str, Any]:
        """Return the inputs that differ from what counts where nothing is given."""
        inputs = {}
        for name in self._names:
            value, default = self.cleaned_data[name], meanings.INPUTS[name].default
            if isinstance(value, list):
                default = list(default or ())
            if value not in (None, "", default):
                inputs[name] = value
        return inputs


def _field(name: str, told: Input) -> forms.Field:
    shown: dict[str, Any] = {
        "label": name.removesuffix("_s").replace("_", " ").capitalize(),
        "help_text": told.meaning,
        "required": name == "hosts",
        "initial": told.default,
    }
    if told.kind == meanings.NAMES:
        return Names(**shown)
    if told.kind == meanings.NUMBER:
        return forms.IntegerField(min_value=0, **shown)
    if told.kind == meanings.SHARE:
        return Share(**shown)
    if told.kind == meanings.CHOICE:
        return forms.ChoiceField(choices=[(word, word) for word in told.choices], **shown)
    if told.kind == meanings.FLAG:
        return forms.BooleanField(**shown)
    if told.kind == meanings.OBJECT:
        return Settings(**shown)
    return forms.CharField(**shown)
