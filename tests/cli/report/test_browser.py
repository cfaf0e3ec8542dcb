"""The page in a real browser: no complaint, controls that work, pictures that show something."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

from moeplace.cli.report import write_report
from tests.cli.report.browser import CHROMIUM, Browser
from tests.cli.report.conftest import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moeplace.cli.report.gather import Gathered

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
LARGE = {
    "wafer": ["--hw", "wafer"],
    "cluster": ["--hw", "h100-sxm", "--ranks", "32", "--redundant", "32"],
}


@pytest.fixture(scope="module")
def page(solved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("browser") / "page.html"
    return write_report(solved, path, compare=[solved.with_name("compare.json")])


@pytest.fixture
def browser(page: Path, tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as one:
        one.open(page)
        yield one
        assert one.complaints() == []


def pixels(png: bytes) -> np.ndarray:
    """Return (height, width, 3) values 0..1 of a PNG."""
    image = pytest.importorskip("matplotlib.image")
    return np.asarray(image.imread(io.BytesIO(png)))[:, :, :3]


def _cells(browser: Browser, table: str, column: int) -> list[str]:
    return browser.js(
        f"Array.from(document.querySelectorAll('#{table} tbody tr'),"
        f" (row) => row.cells[{column}].textContent)"
    )


def test_shows_the_numbers(browser: Browser, gathered: Gathered) -> None:
    """The tables that the script fills hold what evaluate says."""
    score = gathered.found.score
    layers = browser.js(
        "Array.from(document.querySelectorAll('#layer-table tbody tr'),"
        " (row) => Number(row.cells[1].dataset.value))"
    )
    np.testing.assert_allclose(layers, score.layer_time_s, rtol=1e-4)
    load = score.rank_load / score.rank_load.mean(axis=1, keepdims=True)
    shown = [float(text) for text in _cells(browser, "ranks", 1)]
    np.testing.assert_allclose(shown, load.mean(axis=0), atol=1e-3)


def test_layer_and_view_switch(browser: Browser, gathered: Gathered) -> None:
    """Slider and switch change map, tables and readout to the layer and placement chosen."""
    browser.js("document.getElementById('layer').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    assert browser.js("document.getElementById('layer-said').textContent") == "layer 2"
    browser.click("input[name=view][value='0']")
    assert "contiguous, layer 2" in browser.js("document.getElementById('map-facts').textContent")
    load = gathered.view("contiguous").score.rank_load[1]
    shown = [float(text) for text in _cells(browser, "ranks", 1)]
    np.testing.assert_allclose(shown, load / load.mean(), atol=1e-3)
    held = gathered.view("contiguous").placement
    experts = held.expert_of_slot[1][held.rank_of_slot == 0]
    assert _cells(browser, "ranks", 3)[0] == ", ".join(
        str(e) for e in sorted(experts[experts >= 0].tolist())
    )
    assert set(_cells(browser, "hot", 0)) == {"2"}


def test_bars_choose_a_layer(browser: Browser) -> None:
    """A click on a bar shows its layer everywhere, another one all layers; keys do the same."""
    browser.click("#layer-bars .layer:nth-of-type(3) .hit")
    assert browser.js("document.getElementById('layer').value") == "3"
    assert browser.js("document.querySelectorAll('.layer.chosen').length") == 1
    browser.click("#layer-bars .layer:nth-of-type(3) .hit")
    assert browser.js("document.getElementById('layer').value") == "0"
    browser.js("document.querySelector('#layer-bars .layer').focus()")
    browser.press("End")
    browser.press("Enter")
    assert browser.js("document.getElementById('layer-said').textContent") == "layer 3"
    assert browser.js("document.activeElement.classList.contains('layer')")


def test_tables_sort(browser: Browser) -> None:
    """A head sorts up, then down, numbers as numbers; what is not known stays last."""
    for table, column in (("effects", 2), ("compared", 3), ("compared", 5)):
        button = f"#{table} th:nth-child({column + 1}) button"
        values = (
            f"Array.from(document.querySelectorAll('#{table} tbody tr'),"
            f" (row) => row.cells[{column}].dataset.value || null)"
        )
        browser.click(button)
        rising = browser.js(values)
        known = [float(value) for value in rising if value is not None]
        assert known == sorted(known)
        assert rising[: len(known)].count(None) == 0
        browser.click(button)
        falling = browser.js(values)
        assert [float(v) for v in falling if v is not None] == sorted(known, reverse=True)
        head = f"document.querySelector('#{table} th:nth-child({column + 1})')"
        assert browser.js(f"{head}.getAttribute('aria-sort')") == "descending"


def test_keyboard_moves_over_ranks(browser: Browser) -> None:
    """The map is one stop of the Tab key; arrows move and tell the rank."""
    assert browser.js("document.querySelectorAll('#fabric .tile[tabindex=\"0\"]').length") == 1
    browser.js("document.querySelector('#fabric .tile').focus()")
    browser.press("ArrowRight")
    assert browser.js("document.getElementById('map-said').textContent").startswith("Rank 1:")
    assert browser.js("document.activeElement.getAttribute('aria-label')").startswith("Rank 1:")
    browser.js("document.body.focus(); scrollTo(0, 0)")
    browser.press("Tab")
    assert browser.js("document.activeElement !== document.body")


def test_heat_map_by_rank_and_expert(browser: Browser) -> None:
    """The heat map has a cell a rank or an expert and more than one color."""
    names = []
    for mode in ("rank", "expert"):
        browser.click(f"input[name=heat][value={mode}]")
        names.append(_cells(browser, "pairs", 0)[0].split()[0])
        assert len(np.unique(pixels(browser.picture("#heat")).reshape(-1, 3), axis=0)) > 4
    assert names == ["rank", "expert"]


def test_themes(page: Path, tmp_path: Path) -> None:
    """A dark system gives a dark page; the button turns it, colors of the map too."""
    with Browser(tmp_path, dark=True) as browser:
        browser.open(page)
        night = pixels(browser.picture("body"))
        browser.click("#theme")
        day = pixels(browser.picture("body"))
        assert browser.complaints() == []
    assert np.median(night) < 0.2
    assert np.median(day) > 0.9


@pytest.mark.parametrize("width", [380, 1280])
def test_nothing_sticks_out(page: Path, tmp_path: Path, width: int) -> None:
    """On narrow and wide screens the page does not scroll sideways."""
    with Browser(tmp_path, width=width) as browser:
        browser.open(page)
        assert browser.js("document.documentElement.scrollWidth") <= width
        assert browser.complaints() == []


def test_every_control_has_a_name(browser: Browser) -> None:
    """Every element that takes the focus has a name for screen readers."""
    nameless = browser.js(
        "Array.from(document.querySelectorAll("
        "'a, button, input, summary, [tabindex]:not(pre)')).filter((e) =>"
        " !(e.textContent.trim() || e.getAttribute('aria-label') ||"
        " (e.labels && e.labels.length))).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert nameless == []
    assert browser.js("document.querySelectorAll('h1').length") == 1
    assert browser.js("document.documentElement.lang") == "en"


@pytest.mark.parametrize("name", list(LARGE))
def test_deepseek_v3(tmp_path: Path, name: str) -> None:
    """DeepSeek-V3: small, without complaint, every region shows something; paint is told."""
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    run("solve", "--model", "deepseek-v3", *LARGE[name], "--solver", "lpt", "--result", result,
        "-q")  # fmt: skip
    write_report(result, page)
    assert page.stat().st_size < 1_000_000
    with Browser(tmp_path) as browser:
        browser.open(page)
        assert browser.complaints() == []
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        browser.wait(f"{paint} !== undefined")
        print(f"{name}: {page.stat().st_size} bytes, first paint after {browser.js(paint):.0f} ms")
        browser.click("input[name=heat][value=expert]")
        for region, colors in (("#short", 20), ("#fabric", 30), ("#layer-bars", 20), ("#heat", 50)):
            picture = pixels(browser.picture(region))
            found = len(np.unique((picture * 255).astype(np.uint8).reshape(-1, 3), axis=0))
            assert found >= colors, (region, found)
            assert 0.01 < (picture < 0.75).any(axis=2).mean() < 0.95, region
        before = browser.picture("#fabric")
        browser.click("input[name=view][value='0']")
        after = browser.picture("#fabric")
        changed = np.abs(pixels(before) - pixels(after)).max(axis=2) > 0.1
        assert changed.mean() > 0.02
