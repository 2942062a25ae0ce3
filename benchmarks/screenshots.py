"""Take the pictures of the page in docs/pictures/, and that of the README.

    pip install playwright && python benchmarks/screenshots.py

It starts the page itself, with the embedded model, and makes what it shows. CXR_CHROMIUM names another browser.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
SIZES = ({"width": 1280, "height": 900}, {"width": 390, "height": 844}, {"width": 320, "height": 640})
PROMPT = "A 65-year-old woman with a large left pleural effusion, PA view"
PLAN = """\
cohort:
- {findings: Effusion, sex: F, age: 50-80, view: PA, count: 4}
- {findings: No Finding, count: 4}
"""
WAIT_MS = 900_000  # for a busy machine
QUALITY = 70


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "pictures", help="folder (default: %(default)s)")
    parser.add_argument(
        "--readme", type=Path, default=ROOT / "examples" / "screenshot.png", help="picture of the README"
    )
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    with serve() as url, open_browser() as browser:
        page = browser.new_page(viewport=SIZES[0], color_scheme="light")
        page.set_default_timeout(WAIT_MS)
        page.goto(url)
        # How long it took here is nothing to remember.
        page.add_style_tag(content=".cxr-line span, .cxr-plan p span { visibility: hidden; }")
        take_images(page, chosen.output, chosen.readme)
        take_dataset(page, chosen.output)


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The address of a page that runs meanwhile."""
    command = [sys.executable, "app.py", "--port", "7869"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            found = next(match for line in server.stdout if (match := re.search(r"is at (http\S+)", line)))
            yield found[1]
        finally:
            server.terminate()


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = os.environ.get("CXR_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--headless=new", "--no-sandbox"])
        yield browser
        browser.close()


def take_images(page: Any, folder: Path, readme: Path) -> None:
    """The tab of images: one with its twin, compared."""
    page.wait_for_selector("#examples li")
    page.fill("#prompt textarea", PROMPT)
    page.uncheck("#randomise input")
    page.fill("#seed input", "7")
    page.click("#generate")
    wait_for_pictures(page, 1)
    page.click(".cxr-compare button:has-text('finding')")
    wait_for_pictures(page, 2)
    page.wait_for_selector(".cxr-legend:has-text('Largest difference')")
    page.select_option("select[aria-label='How to compare']", "side")
    save(page, folder, "compare")
    page.screenshot(path=readme)
    Image.open(readme).convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(readme, optimize=True)


def take_dataset(page: Any, folder: Path) -> None:
    """The tab of data sets: its table, and its report."""
    page.click("#tabs [role=tab]:has-text('Data set')")
    page.wait_for_selector("#cohort [data-row='0']")
    save(page, folder, "cohort")
    page.click("#dataset-source label:has-text('Text')")
    page.wait_for_function("document.querySelector('#dataset-text textarea')?.value.includes('cohort')")
    page.fill("#dataset-text textarea", PLAN)
    page.wait_for_selector("#dataset-plan:has-text('8 images')")
    page.click("#dataset-source label:has-text('Table')")
    page.wait_for_selector("#cohort [data-row='1']:has-text('No Finding')")
    page.click("#steps button:has-text('Next: settings')")
    page.click("#check")
    page.wait_for_selector("#dataset-check:has-text(' here')")
    page.click("#make")
    page.wait_for_selector("#dataset-status:has-text('8 images ready')")
    save(page, folder, "make")
    page.click("#steps button:has-text('Next: report')")
    page.click("#measure")
    page.wait_for_selector("#report table")
    save(page, folder, "report")


def wait_for_pictures(page: Any, count: int) -> None:
    """Wait until there are so many and the model rests."""
    page.wait_for_function(
        f"document.querySelectorAll('.cxr-results li').length === {count}"
        " && document.querySelector('#generate').innerText.includes('Generate')"
    )


def save(page: Any, folder: Path, name: str) -> None:
    """Take the page as it is at each size, as small files."""
    for size in (*SIZES[1:], SIZES[0]):  # and leave it at the first
        page.set_viewport_size(size)
        page.evaluate("scrollTo(0, 0)")
        time.sleep(1.5)  # what moves comes to rest
        path = folder / f"{name}_{size['width']}.webp"
        Image.open(io.BytesIO(page.screenshot())).save(path, quality=QUALITY, method=6)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
