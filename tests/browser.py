"""Headless Chromium, from the Debian packages chromium and chromium-driver."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlparse

import pytest


class Seen(NamedTuple):
    """What a browser saw of a page."""

    errors: list[str]  # of scripts and of loading
    outside: list[str]  # addresses asked for that are no files
    images: list[tuple[str, bool]]  # alternative text, and whether it is displayed
    broken_links: list[str]


def visit(pages: list[Path]) -> dict[Path, Seen]:
    """Open local pages one after the other; skips the test where no Chromium is installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as chromium:
        return {page: _visit(chromium, page) for page in pages}


def _visit(chromium, page: Path) -> Seen:
    chromium.get(page.as_uri())
    assert chromium.title
    images = chromium.execute_script(
        "return [...document.images].map(image => [image.alt, image.complete"
        " && image.naturalWidth > 0 && image.checkVisibility()"
        " && image.getBoundingClientRect().width > 0])"
    )
    links = chromium.execute_script(
        "return [...document.links].map(link => [link.getAttribute('href'), link.href])"
    )
    messages = [
        json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")
    ]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return Seen(
        [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"],
        [address for address in asked if urlparse(address).scheme not in ("file", "data")],
        [(name, visible) for name, visible in images],
        [given for given, address in links if not _leads_somewhere(chromium, page, address)],
    )


def _leads_somewhere(chromium, page: Path, address: str) -> bool:
    parts = urlparse(address)
    target = Path(unquote(parts.path))
    if target != page or not parts.fragment:
        return parts.scheme == "file" and target.is_file()
    script = "return document.getElementById(arguments[0]) !== null"
    return chromium.execute_script(script, unquote(parts.fragment))
