# SPDX-License-Identifier: Apache-2.0
"""What all pages have in common: their frame, who may see them, and what happens on bad days.

A page that cannot be filled stays and says which service did not answer. A session whose token is
not taken any more leads to the login page, and from there back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.generic import View
from horizon import exceptions, messages
from horizon.utils import functions

from novadocker_client.connection import Cloud
from novadocker_client.errors import BadInput, ClientError, LoginExpired, NotFound
from novadocker_dashboard import cloud, rights

# The parameter that asks for what changes in a page, and not for its frame.
PART = "part"
# Of a page that says why something was not done.
NOT_DONE = 409


def content_security_policy() -> str:
    """Return what a browser may do with a page: nothing that the page's own files do not."""
    static = urlsplit(settings.STATIC_URL)
    # Static files may be served by another host.
    own = f"'self' {static.scheme or 'https'}://{static.netloc}" if static.netloc else "'self'"
    rules = [
        "default-src 'none'",
        f"script-src {own}",
        f"style-src {own}",
        f"img-src {own} data:",
        f"font-src {own} data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
    return "; ".join(rules)


class Page(View):
    """A page.

    ``rules`` is who may see it, ``template`` the page, and ``part`` what of it changes while it is
    looked at; without one the page stays as it is. ``back`` names the address of the list that the
    page's thing is in, where it is about one.
    """

    rules: rights.Rules = ()
    template = ""
    part = ""
    back = ""

    request: HttpRequest

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Begin to answer a request."""
        super().setup(request, *args, **kwargs)
        self.faults: list[str] = []
        # Horizon does so for whole pages only.
        timezone.activate(functions.get_timezone(request))

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a request.

        :raises NotAuthorized: when the user may not see the page
        :raises NotAuthenticated: when the session's token is not taken any more
        """
        rights.require(request, self.rules)
        try:
            response = super().dispatch(request, *args, **kwargs)
        except LoginExpired as err:
            # Else the login page would lead straight back here.
            auth.logout(request)
            raise exceptions.NotAuthenticated from err
        except NotFound as err:
            response = self._gone(err)
        response.headers.setdefault("Content-Security-Policy", content_security_policy())
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    @property
    def cloud(self) -> Cloud:
        """Return the cloud as the user sees it."""
        return cloud.of(self.request)

    @property
    def page_size(self) -> int:
        """Return how many rows the user wants on a page, by the settings of Horizon's."""
        return int(functions.get_page_size(self.request))

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask the cloud: what goes wrong is said on the page.

        :raises LoginExpired: when the session's token is not taken any more
        :raises NotFound: when the thing that the page is about is not there
        """
        try:
            yield
        except LoginExpired:
            raise
        except (ClientError, BadInput) as err:
            if self.back and isinstance(err, NotFound) and err.status == 404:
                raise
            self.faults.append(str(err))

    def show(self, context: Mapping[str, Any], status: int = 200) -> HttpResponse:
        """Return the page, or what changes in it where the request asks for that.

        :param context: for its template
        """
        template = self.part if self.part and PART in self.request.GET else self.template
        filled = {
            "faults": self.faults,
            "part_template": self.part,
            "poll_ms": settings.HORIZON_CONFIG.get("ajax_poll_interval", 2500),
            **context,
        }
        return render(self.request, template, filled, status=status)

    def leave(self, address: str, *, said: str = "", failed: str = "") -> HttpResponseRedirect:
        """Return the way to another page, which shows a message.

        :param said: the message of what was done
        :param failed: the message of what was not
        """
        if said:
            messages.success(self.request, said)
        if failed:
            messages.error(self.request, failed)
        return HttpResponseRedirect(address)

    def _gone(self, fault: NotFound) -> HttpResponse:
        context = {"fault": str(fault), "back": reverse(self.back) if self.back else ""}
        name = "_gone" if PART in self.request.GET else "gone"
        return render(self.request, f"novadocker/{name}.html", context, status=404)
