"""
Chromium without a window. Tests write `from inference.page.browser import ...`.

- `open_browser`: a driver for it, or a skip where there is none.
- `wait_for`: what a page shows sooner or later.
- `requested_hosts`: whom the browser asked for anything.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import pytest

SECONDS = 60


@contextmanager
def open_browser(width: int = 1200, height: int = 1000) -> Iterator[Any]:
    """The installed Chromium with its driver; nothing is downloaded."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def wait_for(browser: Any, selector: str, number: int = 1) -> list[Any]:
    """The elements of a CSS selector, as soon as there are so many."""
    until = monotonic() + SECONDS
    while monotonic() < until:
        found: list[Any] = browser.find_elements("css selector", selector)
        if len(found) >= number:
            return found
        sleep(0.1)
    raise AssertionError(f"{selector}: expected {number} within {SECONDS} s, found {len(found)}.")


def requested_hosts(browser: Any) -> set[str]:
    """Names of the hosts that were asked for anything since the log was last read."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        urlsplit(each["params"]["request"]["url"])
        for each in messages
        if each["method"] == "Network.requestWillBeSent"
    ]
    return {url.hostname or "" for url in urls if url.scheme in ("http", "https", "ws", "wss")}
