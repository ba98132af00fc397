"""Photographs the web page with a prediction in it, for README.

    make demo
    python -m scripts.screenshot bundled_model/page.png

Needs playwright (pip install playwright) and a Chromium of the system's. Starts edit_app.py with the bundled model on
the demo's unseen episodes, picks an example, asks for three horizons, and ends it again.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from commands.errors import MissingPackageError
from commands.run import run_command

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1280, 840  # pixels of the browser's window
PREDICTIONS = 3  # in a row
COLOURS = 256  # of the picture, so that it stays small
PATIENCE = 180  # seconds, for a busy machine


def wait_for_page(address: str, server: subprocess.Popen) -> None:
    """Wait until the page is served.

    Raises:
        RuntimeError: if its server ends or takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=PATIENCE).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("edit_app.py does not serve its page; start it by hand to see why.")


def ask(page: "Page", example: int, horizon: int) -> None:
    """Pick an example by its number in the list, ask for a horizon in frames, wait for the whole answer."""
    page.set_default_timeout(1000 * PATIENCE)
    page.wait_for_selector("#predict")
    page.click("#example input")
    page.locator("#example [role=option]").nth(example).click()
    page.wait_for_selector("#frame img")
    field = page.locator("#horizon input[type=number]")
    field.fill(str(horizon))
    field.press("Enter")
    page.click("#predict")
    page.wait_for_function(f"document.querySelector('#status').innerText.startsWith('{PREDICTIONS} predicted')")
    page.wait_for_function("[...document.querySelectorAll('img')].every(picture => picture.complete)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # the page fades its pictures in


def take_picture() -> None:
    """Serve, ask, photograph.

    Raises:
        MissingPackageError: without playwright.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", type=Path, default=ROOT / "demo" / "prepared")
    parser.add_argument("--example", type=int, default=20, help="number in the page's list of examples")
    parser.add_argument("--horizon", type=int, default=20, help="of the model, in frames")
    opt = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise MissingPackageError("playwright is missing; pip install playwright, and have a Chromium.") from error
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "edit_app.py", "--port", str(port), "--data", str(opt.data)]
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_for_page(address, server)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(address, timeout=1000 * PATIENCE)
            ask(page, opt.example, PREDICTIONS * opt.horizon)
            page.screenshot(path=str(opt.output), full_page=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    Image.open(opt.output).convert("RGB").quantize(COLOURS).save(opt.output, optimize=True)


def main() -> int:
    """Photograph the page; see commands.run for how it ends."""
    return run_command("python -m scripts.screenshot", take_picture)


if __name__ == "__main__":
    sys.exit(main())
