"""The page in a real browser: first picture, Stop, viewer, compare, links, history, phone, keyboard, axe."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_page import LivePage
from PIL import Image

from cxr.web.jobs.model_choice import ModelChoice

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    # The browser's own processes and sockets are closed by its driver, which Python cannot see.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CHROMIUM = os.environ.get("CXR_CHROMIUM") or shutil.which("chromium")
AXE = os.environ.get("CXR_AXE", "")  # axe.min.js of the npm package axe-core
PATIENCE_MS = 120_000  # a machine that does much else
SIZES = [(1280, 900), (1920, 1080), (390, 844), (320, 640)]
WHEN_LEFT = ("AbortError", "errored out")  # what gradio says when a page is left while it listens
SHIFT = """() => {
    window.shift = 0;
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
    }).observe({type: "layout-shift"});
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = LivePage(ModelChoice(str(tiny_model_dir), "none"))
        yield page.url
        page.close()


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[Any]:
    """Opens the page in a window of its own; what the console says must be nothing at the end."""
    contexts: list[Any] = []
    said: list[str] = []

    def open_page(size: tuple[int, int] = SIZES[0], fragment: str = "", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.goto(url + fragment)
        page.wait_for_selector("#prompt textarea")
        page.wait_for_selector("#examples li")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if not any(words in text for words in WHEN_LEFT)] == []


def make(page: Any, act: Any, count: int) -> None:
    """Do something that makes pictures, and wait until there are so many, the last one is shown and the model rests."""
    act()
    page.wait_for_function(
        f"document.querySelectorAll('.cxr-results li').length === {count}"
        " && document.querySelector('#generate').innerText.includes('Generate')"
        " && document.querySelector('.cxr-about-picture h2')?.innerText"
        " === document.querySelector('.cxr-results li b').innerText"
    )


def level_at(page: Any, x: float, y: float) -> list[int]:
    """Red, green, blue of the canvas, at shares of its width and height."""
    colour: list[int] = page.evaluate(
        "([x, y]) => { const c = document.querySelector('.cxr-canvas canvas');"
        " return [...c.getContext('2d').getImageData(c.width * x, c.height * y, 1, 1).data].slice(0, 3); }",
        [x, y],
    )
    return colour


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_first_screen_holds_what_makes_a_picture(open_page: Any, size: tuple[int, int]) -> None:
    page = open_page(size)
    for part in ("#prompt", "#num_images", "#seed"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 420, part
    button = page.locator("#generate").bounding_box()
    assert button["y"] + button["height"] <= (420 if size[0] > 760 else size[1])
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.input_value("#prompt textarea") == "A 55-year-old man with pneumonia"


def test_nothing_moves_while_typing_and_generating(open_page: Any) -> None:
    page = open_page()
    page.wait_for_timeout(2_000)
    page.evaluate(SHIFT)
    page.click("#prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type(", large left effusion, no pneumothorax, xyzzy", delay=20)
    page.wait_for_timeout(1_500)  # the chips wait for a pause
    make(page, lambda: page.keyboard.press("Enter"), 1)
    page.wait_for_timeout(500)
    assert page.evaluate("shift") < 0.02


def test_an_empty_prompt_and_a_click_on_an_example_make_pictures(open_page: Any) -> None:
    page = open_page()
    page.fill("#prompt textarea", "")
    make(page, lambda: page.click("#generate"), 1)
    assert "A 55-year-old man with pneumonia" in page.inner_text(".cxr-about-picture")
    make(page, lambda: page.click("#examples li:nth-child(2) button"), 2)  # it adds to the results
    assert "Seed 102" in page.inner_text(".cxr-about-picture h2")
    captions = page.locator(".cxr-results li").all_inner_texts()
    assert len(set(captions)) == 2


def test_one_button_stops_what_it_started(open_page: Any) -> None:
    page = open_page()
    page.click("#advanced .label-wrap")
    page.fill("#num_inference_steps input", "100")
    page.fill("#num_images input", "64")
    page.focus("#generate")
    page.keyboard.press("Enter")
    page.wait_for_selector("#generate:has-text('Stop')")
    page.keyboard.press("Enter")  # the focus has stayed
    page.wait_for_selector("#status:has-text('Stopped')")
    page.wait_for_selector("#generate:has-text('Generate')")


def test_a_page_that_is_loaded_again_finds_its_job(open_page: Any) -> None:
    page = open_page()
    page.click("#advanced .label-wrap")
    page.fill("#num_inference_steps input", "100")
    page.fill("#num_images input", "64")
    page.click("#generate")
    page.wait_for_selector(".cxr-results li")
    page.reload()
    page.wait_for_selector(".cxr-results li")
    page.click("#generate:has-text('Stop')")
    page.wait_for_selector("#status:has-text('Stopped')")
    page.reload()
    page.wait_for_selector("#examples li")
    page.wait_for_timeout(1_000)
    assert page.inner_text("#generate").strip() == "Generate"


@pytest.mark.parametrize(
    ("field", "value", "words"), [("#num_images", "500", "“Images” is 500"), ("#seed", "-1", "is -1")]
)
def test_a_wrong_number_is_refused_in_words(open_page: Any, field: str, value: str, words: str) -> None:
    page = open_page()
    page.uncheck("#randomise input")
    page.fill(f"{field} input", value)
    page.click("#generate")
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert words in toast.inner_text()
    assert "That did not work" in toast.inner_text()
    assert page.input_value(f"{field} input") == value


def test_prompt_and_builder_say_the_same(open_page: Any) -> None:
    page = open_page()
    page.click("#builder .label-wrap")
    page.check("#builder-findings label:has-text('Effusion') input")
    page.wait_for_function("document.querySelector('#prompt textarea').value.includes('pleural effusion')")
    page.click("#undo")
    page.wait_for_function("!document.querySelector('#prompt textarea').value.includes('effusion')")
    page.wait_for_function("!document.querySelectorAll('#builder-findings input')[5].checked")
    page.fill("#prompt textarea", "72 yo F with a lung mass")
    page.wait_for_function("document.querySelector('#builder-age input').value === '72'")
    assert page.is_checked("#builder-findings label:has-text('Mass') input")


def test_the_viewer_answers_mouse_and_keys(open_page: Any) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    page.wait_for_timeout(300)
    before = level_at(page, 0.5, 0.5)
    page.focus(".cxr-canvas canvas")
    page.keyboard.press("i")
    page.wait_for_timeout(300)
    assert level_at(page, 0.5, 0.5) == [255 - part for part in before]
    page.keyboard.press("r")
    page.keyboard.press("1")
    page.wait_for_timeout(300)
    assert level_at(page, 0.02, 0.5) == [0, 0, 0]  # 32 real pixels in the middle of a wide canvas
    assert page.get_attribute("[data-do=real]", "aria-pressed") == "true"
    box = page.locator(".cxr-canvas canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert ": " in page.inner_text(".cxr-readout")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 100, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert float(page.input_value("[data-grey=window]")) == 155
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(300)
    assert page.get_attribute("[data-do=real]", "aria-pressed") == "false"
    assert "Synthetic chest radiograph, seed" in page.get_attribute(".cxr-canvas canvas", "aria-label")


def test_two_pictures_of_one_seed_are_compared(open_page: Any) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    make(page, lambda: page.click(".cxr-compare button:has-text('finding')"), 2)
    page.wait_for_selector(".cxr-legend:has-text('Largest difference')")
    seeds = {text.split()[1] for text in page.locator(".cxr-results li b").all_inner_texts()}
    assert len(seeds) == 1
    page.select_option("select[aria-label='How to compare']", "slider")
    page.focus(".cxr-split")
    page.keyboard.press("ArrowLeft")
    assert page.input_value(".cxr-split") == "49"
    assert page.get_attribute(".cxr-split", "aria-label") == "Border between A and B"
    page.select_option("select[aria-label='How to compare']", "side")
    names = page.locator(".cxr-name").all_inner_texts()
    assert [name[0] for name in names] == ["A", "B"]
    assert names[0] != names[1]


def test_pictures_can_be_taken_away(open_page: Any) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    for name, suffix in (("Download DICOM", ".dcm"), ("Download PNG", ".png")):
        with page.expect_download() as download:
            page.click(f"text={name}")
        assert download.value.suggested_filename.endswith(suffix)


def test_a_link_fills_the_form_and_starts_nothing(open_page: Any) -> None:
    page = open_page(fragment="#prompt=a+lung+%3Cb%3Emass&seed=77&num_inference_steps=5&reword=false")
    page.wait_for_function("document.querySelector('#seed input').value === '77'")
    assert page.input_value("#prompt textarea") == "a lung <b>mass"
    assert not page.is_checked("#randomise input")
    page.wait_for_timeout(500)
    assert page.locator(".cxr-results li").count() == 0
    make(page, lambda: page.click("#generate"), 1)
    assert page.inner_text(".cxr-prompt") == "a lung <b>mass"


def test_back_goes_to_the_tab_before(open_page: Any) -> None:
    page = open_page()
    page.click("#tabs [role=tab]:has-text('About')")
    assert page.url.endswith("#tab=about")
    page.go_back()
    page.wait_for_selector("#tabs [role=tab][aria-selected=true]:has-text('Images')")


def test_history_is_kept_only_where_it_is_wanted(open_page: Any) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    assert page.evaluate("localStorage.getItem('cxr-studio-history')") is None
    page.click(".cxr-history summary")
    page.check(".cxr-history input[type=checkbox]")
    make(page, lambda: page.click("#generate"), 2)
    seed = page.inner_text(".cxr-about-picture h2")
    page.reload()
    page.wait_for_selector("#examples li")
    page.click(".cxr-history summary")
    make(page, lambda: page.click(f".cxr-history li button:has-text('{seed}')"), 1)
    assert page.inner_text(".cxr-about-picture h2") == seed
    page.click(".cxr-history button:has-text('Clear')")
    assert page.locator(".cxr-history li").count() == 0
    page.uncheck(".cxr-history input[type=checkbox]")
    assert page.evaluate("localStorage.getItem('cxr-studio-history')") is None


def test_on_a_phone_the_button_stays_in_sight_and_fields_are_large(open_page: Any) -> None:
    page = open_page((390, 844))
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    box = page.locator("#generate").bounding_box()
    assert 0 <= box["y"] <= 844 - box["height"]
    for field in ("#prompt textarea", "#num_images input", "#seed input"):
        assert page.locator(field).bounding_box()["height"] >= 44, field
        assert page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('{field}')).fontSize)") >= 16


def test_text_of_twice_the_size_is_not_cut(open_page: Any) -> None:
    page = open_page((1280, 900))
    page.add_style_tag(content="html { font-size: 200% !important; }")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.mark.slow
def test_a_region_is_painted_over_a_picture_by_hand_and_by_keys(open_page: Any, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(tmp_path / "film.png")
    page = open_page()
    page.click("#begin .label-wrap")
    page.set_input_files("#begin input[type=file]", str(tmp_path / "film.png"))
    page.wait_for_selector("#begin canvas:not([hidden])")
    canvas = page.locator("#begin canvas")
    canvas.hover()  # it waits until nothing moves any more
    cell = canvas.bounding_box()["width"] / 16
    for column in range(8, 12):
        canvas.hover(position={"x": (column + 0.5) * cell, "y": 4.5 * cell})
        if column == 8:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.querySelector('#begin [data-say=state]').textContent.includes('4 of 256')")
    page.focus("#begin canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.wait_for_function(
        "document.querySelector('#begin [data-say=cell]').textContent === 'Row 6, column 12: made anew'"
    )
    make(page, lambda: page.click("#generate"), 1)
    assert "Derived from a picture: strength 0.75, 5 of 256 cells made anew." in page.inner_text(".cxr-about-picture")
    page.click("text=Start from this picture")
    page.wait_for_function("document.querySelector('#begin [data-say=state]').textContent.includes('all of it')")
    page.click("text=Use all settings")  # it goes back to the picture before
    page.wait_for_function("document.querySelector('#begin [data-say=state]').textContent.includes('5 of 256')")
    make(page, lambda: page.click("#generate"), 2)
    page.click("#begin [data-do=use]")
    make(page, lambda: page.click("#generate"), 3)
    assert "Derived" not in page.inner_text(".cxr-about-picture")


@pytest.mark.slow
def test_a_grid_tells_what_it_comes_to_and_is_made(open_page: Any) -> None:
    page = open_page()
    page.click("#tabs [role=tab]:has-text('Grid')")
    page.fill("#grid-prompt textarea", "a {mass|nodule}")
    page.fill("#grid-num_inference_steps :is(input, textarea)", "1, 1")
    page.wait_for_function("document.querySelector('#grid-told').textContent.includes('1 twice')")
    page.fill("#grid-num_inference_steps :is(input, textarea)", "1, 2")
    page.fill("#grid-guidance_scale :is(input, textarea)", "2")
    page.wait_for_function("document.querySelector('#grid-told').textContent.includes('2 × 2 = 4 images, 6 steps')")
    page.click("#grid-make")
    page.wait_for_function("document.querySelector('#grid-status').textContent.includes('4 images on one sheet')")
    page.wait_for_selector("#grid-sheet img")


@pytest.mark.skipif(not AXE, reason="CXR_AXE does not name axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Images", "Grid", "Data set", "About"])
def test_axe_finds_nothing(open_page: Any, tab: str, scheme: str) -> None:
    page = open_page(color_scheme=scheme, bypass_csp=True)
    if tab == "Images":
        make(page, lambda: page.click("#generate"), 1)
        for part in (
            "#builder .label-wrap",
            "#advanced .label-wrap",
            "#begin .label-wrap",
            ".cxr-history summary",
            ".cxr-keys summary",
        ):
            page.click(part)
    else:
        page.click(f"#tabs [role=tab]:has-text('{tab}')")
    page.wait_for_timeout(800)
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
