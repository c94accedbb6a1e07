"""The page in headless Chromium: it runs nothing, asks for nothing, fits a phone, and can be read by day and by night."""

import json
import os
from shutil import which

import pytest
from selenium import webdriver
from test_report import INJECTIONS, hostile, sample

from spamcli.report import render
from spamcli.report.text import visible

FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage""".split()
HEIGHT = 800

# Of every text the contrast between its letters and what lies behind them (WCAG 2), the lowest first.
CONTRASTS = """
const parts = colour => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const over = ([r, g, b, a], below) => [r, g, b].map((part, i) => a * part + (1 - a) * below[i]);
const behind = element => {
  if (!element) return [255, 255, 255];
  return over(parts(getComputedStyle(element).backgroundColor), behind(element.parentElement));
};
const light = colour => colour.map(part => part / 255)
  .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
  .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
return [...document.body.querySelectorAll("*")]
  .filter(element => [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim()))
  .map(element => [element, getComputedStyle(element)])
  .map(([element, style]) => [element, parts(element.closest("svg") ? style.fill : style.color)])
  .filter(([element, colour]) => colour[3] > 0)
  .map(([element, colour]) => {
    const [a, b] = [light(over(colour, behind(element))), light(behind(element))];
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.textContent.slice(0, 40)];
  })
  .sort((a, b) => a[0] - b[0]);
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    binary, driver = which("chromium"), which("chromedriver")
    if not (binary and driver):
        reason = "no Chromium here; get it with `apt-get install chromium chromium-driver`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture(params=[(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")], ids=lambda p: f"{p[0]}-{p[1]}")
def show(request, chromium, tmp_path):
    """Open HTML on a screen of this width, by day or by night; returns the browser, its console and what it asked for."""
    width, scheme = request.param
    screen = {"width": width, "height": HEIGHT, "deviceScaleFactor": 2, "mobile": width < 500}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    path = tmp_path / "report.html"

    def show(html):
        path.write_text(html, encoding="utf-8")
        chromium.get("about:blank")
        chromium.get_log("browser"), chromium.get_log("performance")
        chromium.get(path.as_uri())
        assert chromium.execute_script("return document.readyState") == "complete"
        events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
        asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return chromium, chromium.get_log("browser"), [url for url in asked if url != path.as_uri() and url != "data:,"]

    show.width, show.scheme = width, scheme
    return show


def test_browser_tells_when_a_page_does_what_ours_must_not(show):
    page = "<script>window.hacked=1; console.warn('x')</script><img src='http://127.0.0.1:9/x.png'><hr style='width:2000px'>"
    browser, console, asked = show(
        f"<!doctype html><meta name=viewport content='width=device-width'><p style='color:#aaa'>{page}a"
    )
    assert browser.execute_script("return window.hacked") == 1
    assert {entry["level"] for entry in console} == {"WARNING", "SEVERE"}
    assert asked == ["http://127.0.0.1:9/x.png"]
    assert browser.execute_script("return document.documentElement.scrollWidth") > show.width
    assert browser.execute_script(CONTRASTS)[0][0] < 4.5


@pytest.mark.parametrize("redact", [False, True], ids=["plain", "redacted"])
@pytest.mark.parametrize("data", [sample, hostile])
def test_page_runs_nothing_asks_for_nothing_and_fits(show, data, redact):
    browser, console, asked = show(render(data(), redact))
    assert console == [] and asked == []
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.documentElement.scrollWidth") <= show.width
    contrast, text = browser.execute_script(CONTRASTS)[0]
    assert contrast >= 4.5, text


def test_page_with_injections_shows_every_message_as_text(show):
    browser, _, _ = show(render(hostile()))
    texts = browser.execute_script("return [...document.querySelectorAll('#mistakes ~ ol p')].map(p => p.textContent)")
    assert texts == [visible(text) for text in INJECTIONS] * 2
    assert browser.execute_script("return document.title").endswith("messages judged rightly – spamcli")
    boxes = browser.execute_script("return [...document.querySelectorAll('ol p')].map(p => p.getBoundingClientRect().toJSON())")
    assert all(box["height"] > 10 and box["left"] >= 0 and box["right"] <= show.width for box in boxes)


def test_figures_fill_their_column_with_letters_that_can_be_read(show):
    browser, _, _ = show(render(sample()))
    figures = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().toJSON())"
    )
    assert len(figures) == 6
    assert all(250 < figure["width"] < 500 and figure["right"] <= show.width for figure in figures)
    # Matplotlib's 11 units, in pixels of the screen.
    assert min(figure["width"] for figure in figures) / 360 * 11 > 9
    colours = browser.execute_script("return [...document.querySelectorAll('svg [style]')].map(e => e.getAttribute('style'))")
    assert not [style for style in colours if "#" in style and "url(#" not in style]


def test_night_is_dark_and_day_is_light(show):
    browser, _, _ = show(render(sample(40)))
    red = browser.execute_script("return +getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert red < 40 if show.scheme == "dark" else red > 240
