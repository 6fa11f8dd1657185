"""JupyterLab in a real Chromium without a screen: what somebody sees who has just cloned this.

All seven notebooks are opened as they are committed; a small one is run, since running the seven
takes minutes. Without Chromium on the machine nothing of this is tested.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import geneface_kit_figures
import nbformat
import numpy as np
import pytest

from geneface_kit.person.clip import write_audio
from notebooks.execution import NAMES

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
FLAGS += ["--autoplay-policy=no-user-gesture-required"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # a microphone
SETTINGS = {
    "notebook-extension/tracker": {
        "windowingMode": "none"
    },  # else cells out of sight are not drawn
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
SECONDS = 120_000  # most milliseconds that anything may take on a busy machine
TINY = """import numpy as np
from geneface_kit_figures import live
from geneface_kit_figures.panel import Film, Ray, Scene, Shot

FACE = np.full((68, 2), 0.5)

def draw(level, yaw, pitch):
    return Shot(np.full((256, 256, 3), level, np.uint8), FACE)

def ray(column, row, **chosen):
    return Ray(np.array([9.0]), np.array([1.0]), np.array([[1.0, 0, 0]]), 0.1, (8.0, 10.0), column)

def say(sound, **chosen):
    n = len(sound) // 640
    pictures = (np.full((256, 256, 3), 5 * k % 250, np.uint8) for k in range(n))
    return Film(sound, np.tile(FACE, (n, 1, 1)), pictures=pictures)

values = {"level": range(0, 250, 10), "yaw": range(-20, 21), "pitch": range(-20, 21)}
sound = np.zeros(16000, np.float32)
live.explore(Scene(draw, values, ray=ray, say=say, recordings={"silence": sound}))"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a fresh clone holds of what a browser shows, and a small notebook to run."""
    home = tmp_path_factory.mktemp("lab")
    root = home / "clone"
    (root / "notebooks").mkdir(parents=True)
    for name in NAMES:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", root / "notebooks")
    shutil.copytree(ROOT / "figures", root / "figures")
    shutil.copytree(ROOT / "geneface_kit" / "person" / "demo", root / "geneface_kit/person/demo")
    shutil.copy(ROOT / "pyproject.toml", root)
    for name in ("runs", "data"):
        (root / name).mkdir()
    tiny = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(TINY)])
    tiny.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(tiny, root / "notebooks" / "tiny.ipynb")
    return root


@pytest.fixture(scope="module")
def address(clone):
    """JupyterLab at the root of the clone, with settings and a home of its own."""
    home = clone.parent
    for name, settings in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [str(ROOT), str(Path(geneface_kit_figures.__file__).absolute().parents[1])]
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython"}
    own |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    env = os.environ | {name: str(home / folder) for name, folder in own.items()}
    env["PYTHONPATH"] = os.pathsep.join([*places, env.get("PYTHONPATH", "")])
    env.pop("GENEFACE_KIT_HEADLESS", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}"]
    command += ["--allow-root", "--IdentityProvider.token=", "--ServerApp.port_retries=0"]
    command += ["--ServerApp.disable_check_xsrf=True"]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=clone, env=env, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/api", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, (home / "lab.log").read_text()[-2000:]
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright.sync_playwright() as driver:
        with driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
            yield browser


class Lab:
    """A page of JupyterLab, and what went wrong in it."""

    def __init__(self, page, address):
        self.page, self.address, self.errors = page, address, []
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, name: str) -> None:
        """Opens a notebook, the kernels of those before being ended."""
        sessions = self.page.request.get(f"{self.address}/api/sessions").json()
        for session in sessions:
            self.page.request.delete(f"{self.address}/api/sessions/{session['id']}")
        self.page.goto(f"{self.address}/lab/tree/notebooks/{name}.ipynb?reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")

    def menu(self, *labels: str) -> None:
        self.page.click(f".lm-MenuBar-itemLabel:text-is('{labels[0]}')")
        for label in labels[1:]:
            self.page.click(f".lm-Menu-itemLabel:text-is('{label}')")


@pytest.fixture(scope="module")
def lab(browser, address):
    return Lab(browser.new_page(viewport={"width": 1300, "height": 1200}), address)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_clone_shows_every_picture_and_no_error(lab, clone, name):
    lab.open(name)
    if name == NAMES[0]:  # the folder that JupyterLab was started in is the one with everything
        lab.page.locator(".jp-BreadCrumbs-home").first.click()
        for folder in ("data", "figures", "notebooks", "runs"):
            lab.page.wait_for_selector(f".jp-DirListing-itemText:has-text('{folder}')")
    cells = nbformat.read(clone / "notebooks" / f"{name}.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    data = [output.get("data", {}) for output in outputs]
    drawn = sum(any(kind.startswith("image/") for kind in one) for one in data)
    seen = ".jp-OutputArea-output img, .jp-OutputArea-output.js-plotly-plot"
    lab.page.wait_for_function(
        "([seen, n]) => document.querySelectorAll(seen).length >= n", arg=[seen, drawn]
    )
    lab.page.wait_for_function(
        """() => [...document.images]
          .filter((image) => image.src)  // plotly keeps an empty one
          .every((image) => image.complete && image.naturalWidth > 0)"""
    )
    text = lab.page.locator(".jp-Notebook").inner_text()
    assert not re.search("model not found|Loading widget|Traceback|Error displaying", text)
    assert lab.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert lab.page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert lab.errors == []


def test_a_panel_answers_to_mouse_keyboard_and_play_and_leaves_its_last_picture(lab, clone):
    page = lab.page
    lab.open("tiny")
    page.get_by_text(
        "| Idle"
    ).wait_for()  # what is run before the kernel is there is not run at all
    lab.menu("Run", "Run All Cells")
    panel = page.locator(".gk-panel")
    panel.wait_for()
    note = panel.locator(".gk-note")
    assert "drawn in" in note.inner_text()
    assert not page.locator(".gk-last").is_visible()  # one picture, not two

    def says(name: str, value: str) -> None:
        row = panel.locator(".gk-row", has_text=name)
        row.locator(f"output:has-text('{value}')").wait_for()

    slider = panel.locator(".gk-row", has_text="level").locator("input")
    slider.focus()
    page.keyboard.press("ArrowRight")
    says("level", "130")
    canvas = panel.locator("canvas").first
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] - 20, steps=4)
    page.mouse.up()
    says("yaw", "10")
    says("pitch", "-5")
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    says("yaw", "8")
    blank = panel.locator(".gk-ray").evaluate("canvas => canvas.toDataURL()")
    page.mouse.click(*middle)
    panel.locator(".gk-ray").evaluate(
        """(canvas, blank) => new Promise((resolve) => {
          const look = () => (canvas.toDataURL() !== blank ? resolve() : setTimeout(look, 50));
          look();
        })""",
        blank,
    )
    play = panel.locator("button:has-text('play')")
    play.click()
    panel.locator("button:has-text('stop')").wait_for()
    play.wait_for()  # a second of sound and 25 pictures later
    assert re.search(r"1\.0 s, drawn at \d+ frames a second", note.inner_text())
    sound = clone.parent / "half_a_second.wav"
    write_audio(sound, np.zeros(8000, np.float32))
    with page.expect_file_chooser() as asked:
        panel.get_by_text("open a recording").click()
    asked.value.set_files(sound)
    panel.locator(".gk-note", has_text=re.compile(r"^0\.5 s, drawn at")).wait_for()
    panel.get_by_text("● record").click()
    page.wait_for_timeout(1500)
    panel.get_by_text("■ done").click()
    panel.locator(".gk-note", has_text=re.compile(r"^[1-9]\d?\.\d s, drawn at")).wait_for()
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw Error('none') } }"
    )
    panel.get_by_text("● record").click()
    panel.locator(".gk-note", has_text="no microphone: none").wait_for()
    dark(lab)
    lab.menu("File", "Save Notebook")
    path = clone / "notebooks" / "tiny.ipynb"
    for _ in range(100):
        if "gk-last" in path.read_text():
            break
        time.sleep(0.1)
    lab.open("tiny")
    page.locator(".gk-last img").wait_for()
    page.wait_for_timeout(3000)  # the widget manager waits two seconds for a model
    missing = page.get_by_text("model not found")
    assert not any(missing.nth(k).is_visible() for k in range(missing.count()))
    assert lab.errors == []


def dark(lab: Lab) -> None:
    """The panel's words can be read on both grounds: as light or dark as those of the page."""
    shade = """(panel) => {
      const of = (css) => {
        const [red, green, blue] = css.match(/[0-9.]+/g).map(Number);
        return (red + green + blue) / 765;
      };
      const ground = getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor;
      return of(getComputedStyle(panel).color) - of(ground);
    }"""
    panel = lab.page.locator(".gk-panel")
    assert panel.evaluate(shade) < -0.5
    lab.menu("Settings", "Theme", "JupyterLab Dark")
    lab.page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    assert panel.evaluate(shade) > 0.5
