"""Reports in a real browser: they fit narrow and wide screens, and load nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from made_runs import make_comparison, make_search

from adarts_ext.report import write_report

BROWSER = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium: apt-get install chromium"),
]

# A copy of the page that does not forbid scripts says what it is like, in frames of some widths.
MEASURE = """<script>addEventListener("load", () => {
  const asked = performance.getEntriesByType("resource").map((one) => one.name);
  const seen = [...document.querySelectorAll("svg")].filter((one) => one.clientHeight > 15);
  parent.postMessage({
    width: innerWidth, room: document.documentElement.clientWidth,
    needed: document.documentElement.scrollWidth,
    asked: asked.filter((name) => !name.startsWith("data:")), seen: seen.length,
  }, "*");
});</script>"""
FRAMES = """<!DOCTYPE html><html><body><script>
const found = [];
addEventListener("message", (message) => {
  found.push(message.data);
  document.documentElement.dataset.found = JSON.stringify(found);
});
</script>%s</body></html>"""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy".*?/>')


def browse(path, profile):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]
    command += ["--enable-logging=stderr", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measured(html, folder, widths=(400, 1400)):
    """What a page is like in windows of some widths."""
    page, frames = folder / "page.html", folder / "frames.html"
    page.write_text(POLICY.sub("", html, count=1).replace("</body>", f"{MEASURE}</body>"))
    frame = '<iframe src="page.html" style="border: 0; width: %dpx; height: 900px"></iframe>'
    frames.write_text(FRAMES % "".join(frame % width for width in widths))
    dom, _ = browse(frames, folder / "profile")
    found = json.loads(re.search(r'data-found="(.*?)"', dom)[1].replace("&quot;", '"'))
    assert sorted(one["width"] for one in found) == list(widths)
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_report(make_search(folder / "search", 2), folder / "search.html")
    write_report(make_comparison(folder / ("long" * 50)), folder / "comparison.html")
    return folder


@pytest.mark.parametrize("page", ["search", "comparison"])
def test_a_page_fits_the_window_and_asks_for_nothing(page, pages, tmp_path):
    html = (pages / f"{page}.html").read_text()
    for found in measured(html, tmp_path):
        assert found["needed"] <= found["room"]
        assert found["asked"] == []
        assert found["seen"] == html.count("<svg") > 0


def test_the_browser_would_tell(pages, tmp_path):
    """What is too wide, and what is asked for."""
    html = (pages / "search.html").read_text()
    more = '<div style="width: 500px">wide</div><img src="http://localhost:9/picture.png" />'
    (found,) = measured(html.replace("<main>", f"<main>{more}"), tmp_path, (400,))
    assert found["needed"] > found["room"]
    assert found["asked"] == ["http://localhost:9/picture.png"]


def test_the_page_keeps_to_its_own_policy(pages, tmp_path):
    html = (pages / "search.html").read_text()
    assert POLICY.search(html)
    _, complaints = browse(pages / "search.html", tmp_path)
    assert complaints == []
