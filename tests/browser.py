# SPDX-License-Identifier: Apache-2.0
"""A browser without a screen: Debian's Chromium, driven as the WebDriver standard has it."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
# Root's Chromium has no sandbox, and the machine's proxy does not know the lab.
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"),
    *("--hide-scrollbars", "--disable-gpu", "--force-device-scale-factor=1"),
)
WIDTH, HEIGHT = 1280, 800
# As the standard calls what stands for an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TIMEOUT_S = 60


class BrowserError(Exception):
    """The browser cannot do what it was asked to."""


class Browser:
    """One window, with cookies of its own.

    :param home: the address that paths are below
    :param pictures: the folder of what is photographed
    """

    def __init__(self, home: str, pictures: pathlib.Path) -> None:
        self.home = home.rstrip("/")
        self.pictures = pictures
        self._driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._session = ""

    def __enter__(self) -> Self:
        try:
            self._url = f"http://127.0.0.1:{self._port()}/session"
            wanted = {
                "goog:chromeOptions": {"binary": CHROMIUM, "args": list(OPTIONS)},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
            made = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/{made['sessionId']}"
            self._size(HEIGHT)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error:
                self.picture("failed")
            self._ask("DELETE", self._session)
        finally:
            self._end()

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.communicate()

    def _port(self) -> str:
        for line in self._driver.stdout or ():
            if told := re.search(r"started successfully on port (\d+)", line):
                return told.group(1)
        raise BrowserError(f"{DRIVER} does not start")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as err:
            told = json.load(err)["value"]
            raise BrowserError(f"{told['error']}: {told['message'].splitlines()[0]}") from err

    def do(self, script: str, *arguments: Any) -> Any:
        """Return what a script gives back that is run in the page."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/sync", body)

    def promised(self, script: str, *arguments: Any) -> Any:
        """Return what a script that is run in the page hands to its last argument."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/async", body)

    def fetch(self, path: str) -> str:
        """Return what an address gives to the page's own script."""
        script = (
            "const [path, done] = arguments;"
            "fetch(path, {credentials: 'same-origin'}).then(x => x.text()).then(done);"
        )
        return str(self.promised(script, path))

    def said(self) -> list[str]:
        """Return what is in the browser's console since this was asked last."""
        body = {"type": "browser"}
        return [item["message"] for item in self._ask("POST", f"{self._session}/se/log", body)]

    def open(self, path: str) -> None:
        """Go to a path, or to a whole address."""
        url = path if path.startswith("http") else f"{self.home}{path}"
        self._ask("POST", f"{self._session}/url", {"url": url})

    @property
    def address(self) -> str:
        """Return where the window is."""
        return str(self._ask("GET", f"{self._session}/url"))

    @property
    def text(self) -> str:
        """Return what a reader sees of the page."""
        return str(self.do("return document.body.innerText"))

    def until(self, check: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """Return the first answer that is true.

        :raises BrowserError: there is none in time
        """
        deadline = time.monotonic() + timeout_s
        while not (answer := check()):
            if time.monotonic() > deadline:
                raise BrowserError(f"{self.address}: no {what} in {timeout_s:g} s: {self.text}")
            time.sleep(0.2)
        return answer

    def read(self, words: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until a reader sees these words."""
        self.until(lambda: words in self.text, f"words {words!r}", timeout_s)

    def press(self, words: str) -> None:
        """Press the button, or follow the link, that has these words; wait for another page."""
        said = f"normalize-space(.)={json.dumps(words)}"
        self.click(f"//*[(self::button or self::a) and {said}]")

    def click(self, xpath: str) -> None:
        """Click on the first element of this kind, and wait for the page that it leads to."""
        before = self._loaded()
        self._ask("POST", f"{self._session}/element/{self._element(xpath)}/click", {})
        self.until(lambda: self._loaded() not in (None, before), f"page after {xpath}")

    def _loaded(self) -> float | None:
        """Return when the page was begun that is there as a whole, None while there is none."""
        try:
            begun, state = self.do("return [performance.timeOrigin, document.readyState]")
        except BrowserError:
            # The script belonged to the page that was just left.
            return None
        return float(begun) if state == "complete" else None

    def tick(self, label: str) -> None:
        """Tick the box that has this label."""
        path = f"//input[@type='checkbox' and @aria-label={json.dumps(label)}]"
        self._ask("POST", f"{self._session}/element/{self._element(path)}/click", {})

    def fill(self, name: str, text: str) -> None:
        """Type a text into the field of this name; the path of a file into one for files."""
        element = self._element(f"//*[@name={json.dumps(name)} and not(@type='hidden')]")
        self._ask("POST", f"{self._session}/element/{element}/value", {"text": text})

    def choose(self, name: str, words: str) -> None:
        """Choose what begins with these words in the list of this name."""
        option = f"//select[@name={json.dumps(name)}]/option[starts-with(., {json.dumps(words)})]"
        self._ask("POST", f"{self._session}/element/{self._element(option)}/click", {})

    def _element(self, xpath: str) -> str:
        found_by = {"using": "xpath", "value": xpath}
        return str(self._ask("POST", f"{self._session}/element", found_by)[ELEMENT])

    def _size(self, height: int) -> None:
        size = {"width": WIDTH, "height": height}
        self._ask("POST", f"{self._session}/window/rect", size)

    def picture(self, name: str, most_px: int = 1600) -> None:
        """Photograph the page as it is, down to its end.

        :param most_px: what is below is left out
        """
        inner, outer = self.do("return [window.innerHeight, window.outerHeight]")
        whole = self.do("return document.documentElement.scrollHeight")
        self._size(min(max(int(whole), HEIGHT), most_px) + int(outer) - int(inner))
        self.pictures.mkdir(parents=True, exist_ok=True)
        data = base64.b64decode(self._ask("GET", f"{self._session}/screenshot"))
        (self.pictures / f"{name}.png").write_bytes(data)
        self._size(HEIGHT)
