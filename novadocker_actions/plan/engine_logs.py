# SPDX-License-Identifier: Apache-2.0
"""Options of the engine's log drivers: who has which, and values that none of them takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# A place, what was found there, and what to do about it.
Told = tuple[str, str, str]

_ANY = (
    *("mode", "max-buffer-size"),
    *("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"),
)
# A host leaves these out where its log is none of files.
_FILES = ("max-size", "max-file", "compress")
_MARKS = ("env", "env-regex", "labels", "labels-regex", "tag")
# By driver, with what the names of its other options begin with.
_PREFIXES = {
    "awslogs": "awslogs-",
    "fluentd": "fluentd-",
    "gcplogs": "gcp-",
    "gelf": "gelf-",
    "journald": "",
    "json-file": "",
    "local": "",
    "logentries": "logentries-",
    "splunk": "splunk-",
    "syslog": "syslog-",
}
_OTHERS = {"logentries": ("line-only",)}

SIZE = re.compile(r"\d+(\.\d+)* ?([kmgtp]?i?b?)", re.I)
_DURATION = re.compile(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+)")
_COUNT = re.compile(r"\+?0*[1-9]\d*")
_WHOLE = re.compile(r"\+?\d+")
_TRUTH = re.compile("1|t|T|TRUE|true|True|0|f|F|FALSE|false|False")
_YES = re.compile("1|t|T|TRUE|true|True")
_SIZES = ("max-size", "max-buffer-size", "cache-max-size", "fluentd-buffer-limit")
_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    **dict.fromkeys(_SIZES, (SIZE, "Give a size, such as 10m.")),
    **dict.fromkeys(("max-file", "cache-max-file"), (_COUNT, "Give a count of 1 or more.")),
    **dict.fromkeys(
        (
            *("compress", "cache-disabled", "cache-compress", "syslog-tls-skip-verify"),
            *("fluentd-async", "fluentd-async-connect", "fluentd-request-ack"),
            *("fluentd-sub-second-precision", "splunk-insecureskipverify", "splunk-gzip"),
            *("splunk-verify-connection", "awslogs-create-group", "gcp-log-cmd"),
        ),
        (_TRUTH, "Give true or false."),
    ),
    **dict.fromkeys(
        ("fluentd-retry-wait", "fluentd-async-reconnect-interval"),
        (_DURATION, "Give a time with its unit, such as 1s."),
    ),
    "fluentd-max-retries": (_WHOLE, "Give a count."),
    "mode": (re.compile("|blocking|non-blocking"), "Give blocking or non-blocking."),
    "syslog-format": (
        re.compile("|rfc3164|rfc5424|rfc5424micro"),
        "Give rfc3164, rfc5424 or rfc5424micro.",
    ),
    "syslog-facility": (
        re.compile(
            "|kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local[0-7]|"
            "[0-9]|1[0-9]|2[0-3]"
        ),
        "Give a facility of syslog's, such as daemon or local0.",
    ),
    "syslog-address": (
        re.compile(r"|(udp|tcp|tcp\+tls)://[^\s/]+|(unix|unixgram):///\S+"),
        "Give udp://, tcp:// or tcp+tls:// with host and port, or unix:// with a path.",
    ),
    "gelf-address": (
        re.compile(r"(udp|tcp)://[^\s/]+:\d+"),
        "Give udp:// or tcp:// with host and port.",
    ),
    "gelf-compression-type": (re.compile("gzip|zlib|none"), "Give gzip, zlib or none."),
    "gelf-compression-level": (re.compile("-1|[0-9]"), "Give -1 to 9."),
    "fluentd-address": (
        re.compile(
            r"|(tcp://|tls://)?[^\s/:]+(:\d+)?|(tcp://|tls://)?\[[^\s/]+\](:\d+)?|unix://\S+"
        ),
        "Give host:port, or unix:// with a path.",
    ),
}


def log_misfits(settings: dict[str, Any]) -> Iterator[Told]:
    """Yield what is wrong with the options of a log driver.

    Without a driver in the settings the host's own file may name one, which is the host's to say.

    :param settings: as in daemon.json
    """
    options: dict[str, str] = settings.get("log-opts", {})
    driver = settings.get("log-driver", "")
    if driver == "none" or (driver and driver not in _PREFIXES):
        # One that reads none, and plug-ins.
        return
    known = [driver] if driver else [*_PREFIXES]
    for name, value in options.items():
        place = f"log-opts.{name}"
        if not _is_known(name, known):
            yield (
                place,
                f"the log driver {driver} has no such option."
                if driver
                else "none of the engine's own log drivers has such an option.",
                "Leave it out, or give the log-driver that has it as well.",
            )
        elif name in _FORMS and not _FORMS[name][0].fullmatch(value):
            yield place, f"{value!r} is not what it takes.", _FORMS[name][1]
        elif name == "tag" and value.count("{{") != value.count("}}"):
            yield place, f"{value!r} is no template.", "Close each {{ by }}."
    yield from _contradictions(options, driver)


def _is_known(name: str, drivers: list[str]) -> bool:
    return name in (*_ANY, *_FILES, *_MARKS) or any(
        name in _OTHERS.get(driver, ()) or (prefix and name.startswith(prefix))
        for driver in drivers
        for prefix in [_PREFIXES[driver]]
    )


def _contradictions(options: dict[str, str], driver: str) -> Iterator[Told]:
    if "max-buffer-size" in options and options.get("mode") != "non-blocking":
        yield (
            "log-opts.max-buffer-size",
            "only a log that does not block has a buffer.",
            "Give mode non-blocking as well, or leave it out.",
        )
    if driver in ("", "json-file"):
        if re.fullmatch("[0. ]*[a-z]*", options.get("max-size", "1"), re.I):
            yield (
                "log-opts.max-size",
                "a log of no bytes cannot be kept.",
                "Give a size, or leave it.",
            )
        few = int(options.get("max-file", "1")) < 2
        if _YES.fullmatch(options.get("compress", "")) and (few or "max-size" not in options):
            yield (
                "log-opts.compress",
                "only files that a log has left are compressed.",
                "Give max-size and a max-file of 2 or more as well.",
            )
    if {"fluentd-async", "fluentd-async-connect"} <= set(options):
        yield "log-opts.fluentd-async", "fluentd-async-connect is the same.", "Give one of them."
    if options.get("gelf-address", "").startswith("tcp:") and any(
        options.get(name) for name in ("gelf-compression-type", "gelf-compression-level")
    ):
        yield (
            "log-opts.gelf-address",
            "what goes by TCP is not compressed.",
            "Give udp://, or leave gelf-compression-type and gelf-compression-level out.",
        )
