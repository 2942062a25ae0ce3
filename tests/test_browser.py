"""The page in a real browser: first picture, Stop, queue, viewer, compare, links, history, restore, data set, phone,
keyboard, axe.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_page import LivePage
from PIL import Image

from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.image_form import PLACEHOLDER

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    # The browser's own processes and sockets are closed by its driver, which Python cannot see.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CHROMIUM = os.environ.get("CXR_CHROMIUM") or shutil.which("chromium")
PATIENCE_MS = 300_000  # a machine that does much else
SIZES = [(1280, 900), (1920, 1080), (390, 844), (320, 640)]
# What gradio says when a page is left while it listens; the page that is left still takes what came before.
WHEN_LEFT, AFTERWARDS = ("AbortError", "errored out"), "Unexpected client exception"
# Headings, labels and buttons whose text does not fit, or that leave the window; what scrolls by itself is left out.
CUT = """() => {
    const isCut = (one) => {
        const box = one.getBoundingClientRect();
        const fits = getComputedStyle(one).display === "inline" || one.scrollWidth <= one.clientWidth + 4;
        return box.width > 1 && (box.left < -1 || box.right > innerWidth + 1 || !fits);
    };
    const texts = [...document.querySelectorAll("h1, h2, .cxr-badge, button, label > span, .cxr-line strong")];
    const inside = ".cxr-strip, .cxr-scroll, #cohort, #steps";
    const shown = texts.filter((one) => one.checkVisibility() && !one.closest(inside));
    return shown.filter(isCut).map((one) => one.textContent.trim());
}"""
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
    expected = [*WHEN_LEFT]

    def open_page(size: tuple[int, int] = SIZES[0], fragment: str = "", expects: str = "", **options: Any) -> Any:
        expected.extend([expects] if expects else [])
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
    left = next((number for number, text in enumerate(said) if WHEN_LEFT[1] in text), len(said))
    said = said[:left] + [text for text in said[left:] if AFTERWARDS not in text]
    assert [text for text in said if not any(words in text for words in expected)] == []


def fill_in_a_long_request(page: Any) -> None:
    """One that does not end before it is stopped."""
    page.click("#advanced .label-wrap")
    page.fill("#num_inference_steps input", "100")
    page.fill("#num_images input", "64")


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
    fill_in_a_long_request(page)
    page.focus("#generate")
    page.keyboard.press("Enter")
    page.wait_for_selector("#generate:has-text('Stop')")
    page.keyboard.press("Enter")  # the focus has stayed
    page.wait_for_selector("#status:has-text('Stopped')")
    page.wait_for_selector("#generate:has-text('Generate')")


def test_a_page_that_is_loaded_again_finds_its_job(open_page: Any) -> None:
    page = open_page()
    fill_in_a_long_request(page)
    page.click("#generate")
    page.wait_for_selector(".cxr-results li")
    page.wait_for_function("sessionStorage.getItem('cxr-images')")
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


def test_further_requests_wait_and_are_cancelled_one_by_one(open_page: Any) -> None:
    page = open_page()
    fill_in_a_long_request(page)
    page.click("#generate")
    page.wait_for_selector("#generate:has-text('Stop')")
    page.fill("#num_inference_steps input", "2")
    page.fill("#num_images input", "1")
    page.click("#enqueue")
    page.wait_for_selector(".cxr-queue li")
    page.fill("#prompt textarea", "a lung <b>mass")
    page.press("#prompt textarea", "Enter")
    page.wait_for_selector(".cxr-queue li:nth-child(2):has-text('a lung <b>mass')")
    page.wait_for_function("sessionStorage.getItem('cxr-images').split(',').length === 3")
    page.reload()
    page.wait_for_selector(".cxr-queue li:nth-child(2)")
    page.click(".cxr-queue li:nth-child(1) button")
    page.wait_for_selector(".cxr-queue:has-text('1 request waits')")
    page.click("#generate:has-text('Stop')")
    page.wait_for_selector(".cxr-queue", state="detached")
    page.wait_for_selector("#generate:has-text('Generate')")
    page.wait_for_selector(".cxr-results li:has-text('a lung <b>mass')")


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
    make(page, lambda: page.click(".cxr-compare button:has-text('finding, only there')"), 2)
    page.wait_for_selector(".cxr-legend:has-text('Largest difference')")
    seeds = {text.split()[1] for text in page.locator(".cxr-results li b").all_inner_texts()}
    assert len(seeds) == 1
    assert "in use" not in page.inner_text("#begin")  # the next one is a whole picture
    page.click(".cxr-results li button")
    page.wait_for_selector(".cxr-about-picture:has-text('cells of the picture of')")
    page.click(".cxr-about-picture button:has-text('Use all settings')")
    page.wait_for_selector("#begin:has-text('in use')")
    page.select_option("select[aria-label='Compare with']", index=1)
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


def test_a_link_is_copied(open_page: Any) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.fill("#prompt textarea", "a lung mass & more")
    make(page, lambda: page.click("#generate"), 1)
    seed = page.inner_text(".cxr-about-picture h2").split()[1]
    page.click("text=Copy link")
    link = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"#prompt=a\+lung\+mass\+%26\+more&", link)
    assert f"&seed={seed}&" in link


def test_a_picture_that_was_made_here_restores_its_settings(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    page.fill("#prompt textarea", "72 yo F with a lung mass")
    make(page, lambda: page.click("#generate"), 1)
    seed = page.inner_text(".cxr-about-picture h2").split()[1]
    with page.expect_download() as download:
        page.click("text=Download PNG")
    download.value.save_as(tmp_path / "picture.png")
    page.fill("#prompt textarea", "something else")
    page.click("#restore .label-wrap")
    page.set_input_files("#restore input[type=file]", tmp_path / "picture.png")
    page.wait_for_selector(f"#restore-said:has-text('{seed}')")
    assert page.input_value("#prompt textarea") == "72 yo F with a lung mass"
    assert page.input_value("#seed input") == seed
    Image.new("L", (8, 8)).save(tmp_path / "other.png")
    page.set_input_files("#restore input[type=file]", tmp_path / "other.png")
    page.wait_for_selector("#restore-said [role=alert]:has-text('Nothing was changed')")


def test_a_picture_tells_that_it_is_synthetic(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    with page.expect_download() as download:
        page.click("text=Download PNG")
    download.value.save_as(tmp_path / "picture.png")
    Image.new("L", (8, 8)).save(tmp_path / "other.png")
    page.click("#tabs [role=tab]:has-text('Check')")
    page.set_input_files("#detect input[type=file]", tmp_path / "picture.png")
    page.wait_for_selector("#detect-said [role=status]:has-text('Says that it is synthetic')")
    page.set_input_files("#detect input[type=file]", tmp_path / "other.png")
    page.wait_for_selector("#detect-said [role=status]:has-text('does not mean that it is real')")


def test_a_history_goes_into_a_file_and_comes_back(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    page.click(".cxr-history summary")
    page.check(".cxr-history input[type=checkbox]")
    make(page, lambda: page.click("#generate"), 1)
    kept = page.inner_text(".cxr-history li")
    with page.expect_download() as download:
        page.click(".cxr-history button:has-text('Export')")
    file = tmp_path / "history.jsonl"
    download.value.save_as(file)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1
    page.click(".cxr-history button:has-text('Clear')")
    assert page.locator(".cxr-history li").count() == 0
    file.write_text(file.read_text(encoding="utf-8") + "no json\n", encoding="utf-8")
    page.set_input_files(".cxr-history input[type=file]", file)
    page.wait_for_selector(".cxr-history li")
    assert page.inner_text(".cxr-history li") == kept
    said = page.inner_text(".cxr-history")
    assert "1 of 2 recipes added. One line is not a recipe of this page." in said
    file.write_text('null\n{"id": "x"}\n{"id": "y", "settings": {"prompt": "a", "seed": "7"}}\n', encoding="utf-8")
    page.set_input_files(".cxr-history input[type=file]", file)
    page.wait_for_selector(".cxr-history:has-text('0 of 3 recipes added. 3 lines are not a recipe of this page.')")


def test_a_full_history_keeps_what_has_a_star_and_says_what_it_left_out(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    page.click(".cxr-history summary")
    page.check(".cxr-history input[type=checkbox]")
    recipes = [
        {"id": str(number), "settings": {"prompt": "a mass", "seed": number}, "starred": number == 501}
        for number in range(502)
    ]
    (tmp_path / "full.jsonl").write_text("\n".join(map(json.dumps, recipes)), encoding="utf-8")
    page.set_input_files(".cxr-history input[type=file]", tmp_path / "full.jsonl")
    page.wait_for_selector(".cxr-history:has-text('The oldest 2 recipes were left out: 500 are kept.')")
    assert page.locator(".cxr-history li").last.inner_text().startswith("★ Seed 501")
    assert page.locator(".cxr-history li").count() == 500


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
    # Beside the two that the page found again.
    make(page, lambda: page.click(f".cxr-history li button:has-text('{seed}')"), 3)
    assert page.inner_text(".cxr-about-picture h2") == seed
    page.click(".cxr-history button:has-text('Clear')")
    assert page.locator(".cxr-history li").count() == 0
    page.uncheck(".cxr-history input[type=checkbox]")
    assert page.evaluate("localStorage.getItem('cxr-studio-history')") is None


def open_dataset(page: Any) -> None:
    page.click("#tabs [role=tab]:has-text('Data set')")
    page.wait_for_selector("#cohort [data-row='0']")


def edit_cell(page: Any, row: int, column: int, text: str) -> None:
    page.dblclick(f"#cohort [data-row='{row}'][data-col='{column}']")
    # Earlier, there would be nothing to select, and the text would be added to what stands there.
    page.wait_for_function("document.activeElement.matches('#cohort textarea, #cohort input')")
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def write_plan(page: Any, text: str) -> None:
    """Write a plan as text, once that of the table has come."""
    page.click("#dataset-source label:has-text('Text')")
    page.wait_for_function("document.querySelector('#dataset-text textarea')?.value.includes('cohort')")
    page.fill("#dataset-text textarea", text)


def is_marked(page: Any, row: int, column: int) -> bool:
    cell = f"#cohort [data-row='{row}'][data-col='{column}']"
    return "2px inset" in page.evaluate(f'getComputedStyle(document.querySelector("{cell}")).boxShadow')


def download(page: Any, button: str, path: Path) -> tuple[str, list[str]]:
    """The name of a ZIP that a button gives, and the names of what is in it."""
    page.wait_for_selector(f"{button}:not([disabled])")
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return download.value.suggested_filename, archive.namelist()


def test_a_data_set_from_its_table_to_its_report(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    open_dataset(page)
    edit_cell(page, 1, 2, "40-")
    page.wait_for_selector(".cxr-wrong:has-text(\"Row 2: age is '40-'\")")
    assert is_marked(page, 1, 2)
    assert not is_marked(page, 0, 2)
    assert "No plan yet" in page.inner_text("#dataset-plan")
    edit_cell(page, 1, 2, "40-50")
    edit_cell(page, 0, 4, "2")
    page.wait_for_selector("#dataset-plan:has-text('12 images')")
    page.click("#dataset-source label:has-text('Text')")
    page.wait_for_function("document.querySelector('#dataset-text textarea')?.value.includes('age: 40-50')")
    text = page.input_value("#dataset-text textarea")
    page.fill("#dataset-text textarea", text.replace("num_inference_steps: 8", "num_inference_steps: 1"))
    page.click("#dataset-source label:has-text('Table')")
    page.wait_for_selector("#cohort [data-row='1'][data-col='2']:has-text('40-50')")
    page.click("#steps button:has-text('Next: settings')")
    page.wait_for_selector("#dataset-num_inference_steps input")
    assert page.input_value("#dataset-num_inference_steps input") == "1"
    page.click("#check")
    page.wait_for_selector("#dataset-check:has-text(' here, 0.1 MB')")
    page.click("#make")
    page.wait_for_selector("#dataset-pictures img")
    page.wait_for_selector("#dataset-status:has-text('12 images ready')")
    alternatives = page.evaluate("[...document.querySelectorAll('#dataset-pictures img')].map((one) => one.alt)")
    assert len(alternatives) == 12
    assert all("Chest X-ray" in alternative for alternative in alternatives)
    name, names = download(page, "#dataset-zip", tmp_path / "set.zip")
    assert name.startswith("dataset_12_")
    assert {"README.md", "contact_sheet.html", "receipts.csv", "labels.csv", "manifest.json"} <= set(names)
    page.click("#steps button:has-text('Next: report')")
    page.click("#measure")
    page.wait_for_selector("#report th:has-text('Cardiomegaly')")
    _, names = download(page, "#report-zip", tmp_path / "report.zip")
    assert names == ["as_asked.csv"]


def test_a_text_that_the_table_cannot_hold_stays_text(open_page: Any) -> None:
    page = open_page()
    open_dataset(page)
    write_plan(page, "prompts: [a lung mass, normal]")
    page.wait_for_selector("#dataset-plan:has-text('2 images')")
    page.click("#dataset-source label:has-text('Table')")
    page.wait_for_selector(".toast-body:has-text('cannot hold')")
    page.wait_for_selector("#dataset-text textarea")
    assert page.is_checked("#dataset-source label:has-text('Text') input")
    assert page.input_value("#dataset-text textarea") == "prompts: [a lung mass, normal]"


def test_a_data_set_that_was_stopped_gives_what_is_finished_and_goes_on(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    open_dataset(page)
    write_plan(page, "cohort: [{findings: Effusion, count: 100}]\nsettings: {num_inference_steps: 40}")
    page.wait_for_selector("#dataset-plan:has-text('100 images')")
    page.click("#steps button:has-text('Next: settings')")
    page.click("#check")
    page.wait_for_selector("#dataset-check:has-text('here')")
    page.click("#make")
    page.wait_for_selector("#dataset-pictures img")
    page.reload()  # a set that is being made is found again
    page.wait_for_selector("#tabs [role=tab][aria-selected=true]:has-text('Data set')")  # its address says so
    page.wait_for_selector("#dataset-status:has-text(' of 100 images')")
    page.click("#dataset-stop")
    page.wait_for_selector("#dataset-status:has-text('Stopped at')")
    kept = int(page.inner_text("#dataset-status").split("Stopped at ")[1].split()[0])
    name, names = download(page, "#dataset-zip", tmp_path / "part.zip")
    assert name.startswith(f"dataset_{kept}_of_100_")
    assert sum(one.endswith(".png") for one in names) == kept
    assert {"README.md", "contact_sheet.html", "metadata.jsonl"} <= set(names)


def test_nothing_moves_while_a_table_is_edited(open_page: Any) -> None:
    page = open_page()
    open_dataset(page)
    page.wait_for_timeout(1_000)
    page.evaluate(SHIFT)
    edit_cell(page, 1, 2, "40-")
    page.wait_for_selector(".cxr-wrong li")
    edit_cell(page, 1, 2, "40")
    page.wait_for_selector(".cxr-wrong", state="detached")
    page.wait_for_timeout(500)
    assert page.evaluate("shift") < 0.02


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_phone_the_header_is_one_line(open_page: Any, width: int) -> None:
    page = open_page((width, 844))
    assert page.locator(".cxr-header").bounding_box()["height"] <= 44
    for part in (".cxr-header h1", ".cxr-badge"):
        lines = page.evaluate(
            f"new Set([...document.querySelector('{part}').getClientRects()].map((one) => one.top)).size"
        )
        assert lines == 1
        box = page.locator(part).bounding_box()
        assert box["height"] < 32, part
        assert box["x"] + box["width"] <= width


def test_two_fingers_zoom_the_picture(open_page: Any) -> None:
    page = open_page((390, 844), has_touch=True)
    make(page, lambda: page.click("#generate"), 1)
    page.locator(".cxr-canvas").scroll_into_view_if_needed()
    box = page.locator(".cxr-canvas canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *apart: float) -> None:
        points = [{"x": x + side * half, "y": y, "id": number} for half in apart for number, side in enumerate((-1, 1))]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    window = page.input_value("[data-grey=window]")
    assert page.get_attribute("[data-do=fit]", "aria-pressed") == "true"
    fingers("touchStart", 30)
    for half in (40, 60, 90):
        fingers("touchMove", half)
    fingers("touchEnd")
    page.wait_for_function("document.querySelector('[data-do=fit]').getAttribute('aria-pressed') === 'false'")
    assert page.input_value("[data-grey=window]") == window, "two fingers leave the window alone"


def test_without_the_flag_nothing_names_the_protocol_of_assistants(open_page: Any) -> None:
    # That page of gradio's asks for the protocol's schema and for statistics, neither of which is there.
    page = open_page(expects="Failed to load resource")
    page.click("footer .show-api")
    page.wait_for_selector("li:has-text('JavaScript')")
    page.wait_for_timeout(500)
    shown = page.inner_text("body")
    assert "/generate" in shown
    assert "MCP" not in shown


def test_a_picture_is_made_with_the_keyboard_alone(open_page: Any) -> None:
    page = open_page()
    focused = "document.activeElement.closest('[id]')?.id"
    for _ in range(8):  # the tabs, then the prompt
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    assert page.evaluate(f"document.querySelector('#prompt').contains(document.activeElement) || {focused}") is True
    page.keyboard.press("Control+A")
    page.keyboard.type("a lung mass")
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "generate":
            break
    make(page, lambda: page.keyboard.press("Enter"), 1)
    assert page.inner_text(".cxr-prompt") == "a lung mass"


def test_on_a_phone_the_button_stays_in_sight_and_fields_are_large(open_page: Any) -> None:
    page = open_page((390, 844))
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    box = page.locator("#generate").bounding_box()
    assert 0 <= box["y"] <= 844 - box["height"]
    for field in ("#prompt textarea", "#num_images input", "#seed input"):
        assert page.locator(field).bounding_box()["height"] >= 44, field
        assert page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('{field}')).fontSize)") >= 16


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("tab", ["Images", "Data set", "Check", "About"])
def test_text_of_twice_the_size_is_not_cut(open_page: Any, tab: str, width: int) -> None:
    page = open_page((width, 900))
    page.click(f"#tabs [role=tab]:has-text('{tab}')")
    page.add_style_tag(content="html { font-size: 200% !important; }")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []


def test_large_text_leaves_name_and_tabs_apart(open_page: Any) -> None:
    page = open_page()
    page.add_style_tag(content="html { font-size: 200% !important; }")
    page.wait_for_timeout(500)
    name = page.locator(".cxr-header h1").bounding_box()
    assert name["x"] + name["width"] <= page.locator("#tabs [role=tab]").first.bounding_box()["x"]


@pytest.mark.parametrize("part", ["builder", "advanced"])
def test_what_is_unfolded_lies_in_columns(open_page: Any, part: str) -> None:
    page = open_page()
    page.click(f"#{part} .label-wrap")
    page.wait_for_timeout(500)
    box = page.locator(f"#{part}").bounding_box()
    assert box["width"] > 1_100
    assert box["height"] < 400


def test_a_comparison_is_seen_on_a_phone_and_leaves_the_form_alone(open_page: Any) -> None:
    page = open_page((390, 844))
    make(page, lambda: page.click("#generate"), 1)
    make(page, lambda: page.click(".cxr-compare button:has-text('Another age')"), 2)
    page.wait_for_selector(".cxr-legend:has-text('Largest difference')")
    box = page.locator(".cxr-canvas").bounding_box()
    assert 0 <= round(box["y"]) <= 844 - box["height"]
    assert page.is_checked("#randomise input")
    assert page.input_value("#prompt textarea") == PLACEHOLDER


def test_captions_name_the_setting_that_differs(open_page: Any) -> None:
    page = open_page(fragment="#seed=5&num_inference_steps=2")
    page.wait_for_function("document.querySelector('#seed input').value === '5'")
    make(page, lambda: page.click("#generate"), 1)
    page.click("#advanced .label-wrap")
    page.fill("#num_inference_steps input", "1")
    make(page, lambda: page.click("#generate"), 2)
    captions = page.locator(".cxr-results li").all_inner_texts()
    assert [re.findall(r"Steps \d", one) for one in captions] == [["Steps 1"], ["Steps 2"]]


def test_a_page_that_is_loaded_again_shows_all_its_pictures(open_page: Any) -> None:
    page = open_page()
    make(page, lambda: page.click("#generate"), 1)
    make(page, lambda: page.click("#generate"), 2)
    page.reload()
    page.wait_for_selector(".cxr-results li:nth-child(2)")


@pytest.mark.parametrize(
    ("fragment", "prompt", "seed", "said"),
    [
        ("#seed=5", PLACEHOLDER, "5", ""),
        ("#prompt=&seed=6", PLACEHOLDER, "6", ""),
        ("#prompt=x&seed=abc", PLACEHOLDER, "0", "“Seed of the first image” is 'abc'"),
        ("#prompt=x&reword=maybe", PLACEHOLDER, "0", "is 'maybe'; use true or false"),
    ],
)
def test_a_link_with_missing_or_wrong_values(open_page: Any, fragment: str, prompt: str, seed: str, said: str) -> None:
    page = open_page(fragment=fragment)
    page.wait_for_timeout(1_000)
    assert page.input_value("#prompt textarea") == prompt
    assert page.input_value("#seed input") == seed
    toasts = page.locator(".toast-body").all_inner_texts()
    assert [said in one for one in toasts] == [True] * bool(said)


def test_on_a_phone_the_fields_of_a_data_set_are_large(open_page: Any) -> None:
    page = open_page((390, 844))
    open_dataset(page)
    page.click("#steps button:has-text('Next: settings')")
    page.wait_for_selector("#dataset-num_inference_steps input")
    for field in page.locator("#steps input:not([type=radio], [type=checkbox]):visible").all():
        assert field.bounding_box()["height"] >= 44
        assert field.evaluate("(one) => parseFloat(getComputedStyle(one).fontSize)") >= 16


def find_axe() -> Path | None:
    """The script axe-core: that of the environment, or of the package that the extra "browser" brings."""
    package = importlib.util.find_spec("axe_playwright_python")
    inside = Path(package.origin).with_name("axe.min.js") if package and package.origin else None
    return Path(os.environ["CXR_AXE"]) if "CXR_AXE" in os.environ else inside


AXE = find_axe()


def violations(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds on the page as it is."""
    assert AXE is not None
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
    return [(one["id"], one["nodes"][0]["html"]) for one in found]


@pytest.mark.skipif(AXE is None, reason="axe-core is not installed")
def test_axe_finds_nothing_in_any_step_of_a_data_set(open_page: Any) -> None:
    page = open_page(bypass_csp=True)
    open_dataset(page)
    edit_cell(page, 1, 2, "40-")
    page.wait_for_selector(".cxr-wrong li")
    assert violations(page) == []
    edit_cell(page, 1, 2, "40")
    page.wait_for_selector("#dataset-plan:has-text('14 images')")
    page.click("#steps button:has-text('Next: settings')")
    page.wait_for_selector("#dataset-num_inference_steps input")
    assert violations(page) == []
    page.click("#check")
    page.wait_for_selector("#dataset-check:has-text('here')")
    assert violations(page) == []
    page.click("#make")
    page.wait_for_selector("#dataset-status:has-text('images ready')")
    page.wait_for_timeout(500)
    assert violations(page) == []
    page.click("#steps button:has-text('Next: report')")
    page.click("#measure")
    page.wait_for_selector("#report table")
    assert violations(page) == []


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
    # All three have one seed: only the text tells when the last one is shown.
    page.wait_for_function("!document.querySelector('.cxr-about-picture').innerText.includes('Derived')")


@pytest.mark.slow
def test_a_grid_tells_what_it_comes_to_and_is_made(open_page: Any) -> None:
    page = open_page()
    page.click("#tabs [role=tab]:has-text('Grid')")
    page.fill("#grid-prompt textarea", "a {mass|nodule}")
    page.fill("#grid-num_inference_steps :is(input, textarea)", "1, 1")
    page.wait_for_function("document.querySelector('#grid-estimate').textContent.includes('1 twice')")
    page.fill("#grid-num_inference_steps :is(input, textarea)", "1, 2")
    page.fill("#grid-guidance_scale :is(input, textarea)", "2")
    page.wait_for_function("document.querySelector('#grid-estimate').textContent.includes('2 × 2 = 4 images, 6 steps')")
    page.click("#grid-make")
    page.wait_for_function("document.querySelector('#grid-status').textContent.includes('4 images on one sheet')")
    page.wait_for_selector("#grid-sheet img")


@pytest.mark.skipif(AXE is None, reason="axe-core is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Images", "Grid", "Data set", "Check", "About"])
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
    assert violations(page) == []
