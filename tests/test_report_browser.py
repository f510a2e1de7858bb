"""The report in a real browser: headless Chromium, moved by its driver.

`tox -e browser` runs this; Debian's packages chromium and chromium-driver have to be there.
Screenshots are kept in the folder that EXT4DIFF_SCREENSHOTS names, if it is set.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from nights import a_week, frames, night

from reports.html import page
from reports.since import since_last_night

pytestmark = pytest.mark.browser

PHONE, DESK = 360, 1280
SCHEMES = ("light", "dark")
"""What `prefers-color-scheme` says."""

FAINT = """
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parsed = text => text.match(/[\\d.]+/g).map(Number);
const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parsed(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const found = [];
for (const e of document.querySelectorAll("body *:not(svg *)")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || !e.checkVisibility() || e.classList.contains("nil")) continue;
  const [a, b] = [light(parsed(getComputedStyle(e).color)), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(getComputedStyle(e).fontSize);
  if (ratio < (size >= 24 ? 3 : 4.5))
    found.push(`${e.tagName}.${e.className} "${e.textContent.slice(0, 30)}" ${ratio.toFixed(2)}`);
}
return [...new Set(found)];
"""
"""The visible texts whose contrast is below WCAG's AA; a dot for `none` is no text."""


@pytest.fixture(scope="module")
def browser():
    webdriver = importlib.import_module("selenium.webdriver")
    driver = shutil.which("chromedriver")
    assert driver, "no browser: apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    made = a_week()
    target = tmp_path_factory.mktemp("report") / "report.html"
    rules = [f"rule.{number}" for number in range(150)]
    target.write_text(page(made, since_last_night(made), rules, ["pwrite"], version="0.1.0"))
    return target


def show(browser, file, width=DESK, scheme="light", *, unfolded=False):
    """Load `file`, as a phone or a desk shows it; with `unfolded`, all of it."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get_log("performance")  # forget what was before
    browser.get(file.as_uri())
    if unfolded:
        browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")


def colour(browser, selector, name):
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return browser.execute_script(script, selector, name)


def brightness(browser, name):
    """The mean brightness of a screenshot of the whole page, which is kept if asked for."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    taken = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
    )
    data = base64.b64decode(taken["data"])
    folder = os.environ.get("EXT4DIFF_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(data)
    picture = importlib.import_module("PIL.Image").open(io.BytesIO(data)).convert("L")
    assert picture.size == (width, height)
    assert len(picture.getcolors() or range(257)) > 50  # there is something on it
    return picture.resize((1, 1)).getpixel((0, 0))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("unfolded", [False, True], ids=["folded", "unfolded"])
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(
    browser, report, width, scheme, unfolded
):
    show(browser, report, width, scheme, unfolded=unfolded)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    assert browser.execute_script(FAINT) == []
    assert browser.get_log("browser") == []


def test_the_page_asks_for_nothing_but_itself(browser, report):
    show(browser, report, unfolded=True)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert report.as_uri() in asked
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_headline_is_the_first_thing_one_sees(browser, report, width):
    show(browser, report, width)
    place = browser.execute_script(
        "const r = document.querySelector('#headline').getBoundingClientRect();"
        "return [r.top, r.bottom, r.right]"
    )
    assert browser.find_element("id", "headline").text == "2 new findings"
    assert browser.title == "ext4diff: 2 new findings"
    assert 0 <= place[0] < place[1] < 200
    assert place[2] <= width
    assert float(colour(browser, "#headline", "fontSize").removesuffix("px")) >= 24


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_dark_mode_is_dark_and_light_mode_is_light(browser, report, width):
    shades = {}
    for scheme in SCHEMES:
        show(browser, report, width, scheme)
        shades[scheme] = brightness(browser, f"report-{width}-{scheme}")
    assert shades["dark"] < 60
    assert shades["light"] > 200


def test_text_of_a_log_does_nothing(browser, report):
    show(browser, report, unfolded=True)
    assert browser.execute_script("return document.scripts.length") == 0
    assert "<script>alert(1)</script>" in browser.find_element("tag name", "main").text


def test_pictures_and_charts_are_drawn(browser, report):
    show(browser, report)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('svg rect:not(.hit)')].map(e => e.getBBox().height)"
    )
    assert sizes
    assert all(size > 0 for size in sizes)
    images = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert images == [40]


def test_a_report_of_nothing_is_readable_too(browser, tmp_path):
    made = frames([], night(1))
    target = tmp_path / "empty.html"
    target.write_text(page(made, since_last_night(made)))
    for scheme in SCHEMES:
        show(browser, target, PHONE, scheme, unfolded=True)
        assert browser.find_element("id", "headline").text == "Nothing was run"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
        assert browser.execute_script(FAINT) == []
