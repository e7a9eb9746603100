"""A headless Chromium that asks the demo page."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PATIENCE = 120
"""Seconds; it is a slow start on a busy machine."""

WIDTH = 1080


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Skips the test where it, its driver or selenium is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # As root, and in containers with little shared memory, it does not run otherwise.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.add_argument(f"--window-size={WIDTH},900")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def ask(browser: Chrome, photo: Path) -> str:
    """Give the open page a photo, and wait for the text that it answers."""
    remove = browser.find_elements("css selector", "#photo button[aria-label='Clear']")
    if remove:
        remove[0].click()
    _wait(browser, "#result .waiting")
    (chooser,) = _wait(browser, "#photo input[type=file]")
    chooser.send_keys(str(photo))
    (result,) = _wait(browser, "#result .answer, #result .message")
    return str(result.text)


def requests(browser: Chrome) -> list[str]:
    """Addresses that the browser has asked since the last call; not those that it must not ask."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    forbidden = {
        event["params"]["requestId"]
        for event in events
        if event["method"] == "Network.loadingFailed"
        and event["params"].get("blockedReason") == "csp"
    }
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        and event["params"]["requestId"] not in forbidden
    ]


def _wait(browser: Chrome, selector: str) -> list:
    end = time.monotonic() + PATIENCE
    while not (found := browser.find_elements("css selector", selector)):
        if time.monotonic() > end:
            page = browser.find_element("css selector", "body").text
            raise AssertionError(f"no {selector} after {PATIENCE} s; the page says: {page}")
        time.sleep(0.1)
    return found
