"""What the page computes, without Gradio; and the page in headless Chromium, where Gradio and a browser are there."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lgcn import LandmarkPredictor
from lgcn.demo import create_page, launch_page
from lgcn.demo.page import look, sample_picture

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture(scope="module")
def predictor() -> LandmarkPredictor:
    return LandmarkPredictor.from_pretrained("lgcn-68")


def stroke(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    layer = Image.new("RGBA", size)
    layer.paste((128, 128, 128, 255), box)
    return layer


def test_faces_are_found_once_and_without_the_paint(predictor: LandmarkPredictor) -> None:
    photo = Image.open(PHOTO).convert("RGBA")
    first = look(predictor, {"background": photo, "layers": []}, 0, None)
    assert len(first.faces) == 1
    assert look(predictor, {"background": photo, "layers": []}, 0, first) is first
    # The whole face: nothing is left to be detected.
    layers = [stroke(photo.size, (160, 60, 290, 200)), None]
    second = look(predictor, {"background": photo, "layers": layers}, 7, first)
    assert second.faces is first.faces
    assert second.face == 0
    assert second.comparison.under_brush.all()
    assert torch.equal(second.comparison.seen.landmarks, first.comparison.seen.landmarks)


def test_the_largest_face_is_the_first_of_several(predictor: LandmarkPredictor) -> None:
    large = Image.open(PHOTO).convert("RGB").crop((100, 0, 356, 256))
    both = Image.new("RGB", (420, 256))
    both.paste(large.resize((160, 160)), (0, 0))
    both.paste(large, (164, 0))
    first = look(predictor, {"background": both, "layers": []}, 0, None)
    assert len(first.faces) == 2
    assert first.comparison.seen.landmarks[:, 0].mean() > 164
    other = look(predictor, {"background": both, "layers": []}, 1, first)
    assert other.comparison.seen.landmarks[:, 0].mean() < 160


def test_no_photo_and_no_face_are_results(predictor: LandmarkPredictor) -> None:
    assert look(predictor, None, 0, None) is None
    assert look(predictor, {"background": None, "layers": [Image.new("RGBA", (9, 9))]}, 0, None) is None
    grey = look(predictor, {"background": Image.new("L", (90, 80), 128), "layers": []}, 0, None)
    assert grey.faces == []
    assert grey.comparison is None
    assert grey.painted.shape == (3, 80, 90)


def test_the_sample_has_a_face(predictor: LandmarkPredictor) -> None:
    assert len(look(predictor, sample_picture(), 0, None).faces) == 1


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that this process connects to."""
    addresses: list[Any] = []
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any, original: Any = original) -> Any:
            addresses.append(address)
            return original(self, address)

        monkeypatch.setattr(socket.socket, name, connect)
    return addresses


@pytest.fixture
def address(predictor: LandmarkPredictor, connected: list[Any]) -> Iterator[str]:
    pytest.importorskip("gradio", reason="Gradio (the extra 'demo') is not installed")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    page = create_page(predictor)
    yield launch_page(page, "127.0.0.1", port)
    page.close(verbose=False)
    # Names of sockets that are files are strings.
    assert {each[0] for each in connected if isinstance(each, tuple)} <= {"127.0.0.1", "localhost", "::1"}


def test_the_page_in_a_browser(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    shots = os.environ.get("LGCN_DEMO_SHOTS")
    with playwright.sync_playwright() as driver:
        # The editor draws with WebGL, which needs no graphics card here; --no-sandbox for root in containers.
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))

        def shoot(name: str) -> None:
            if shots:
                page.screenshot(path=f"{shots}/{name}.png", full_page=True)

        page.goto(address)
        page.wait_for_selector("#photo canvas")
        assert "Add a photo" in page.inner_text("#found")
        shoot("0_start")

        page.set_input_files("#photo input[type=file]", PHOTO)
        page.wait_for_function("document.querySelector('#landmarks img')?.naturalWidth > 0")
        page.wait_for_function("document.querySelector('#found').innerText.includes('One face was found')")
        assert "No landmark is painted over" in page.inner_text("#effect")
        shoot("1_photo")

        image = page.locator("#landmarks img").bounding_box()
        page.mouse.click(image["x"] + image["width"] / 2, image["y"] + image["height"] / 2)
        page.wait_for_selector("#listening table")
        assert "nose" in page.inner_text("#listening h3")
        assert "itself" in page.inner_text("#listening table")
        shoot("2_landmark")

        # The face is at (226, 133) of 512 x 512 pixels, which fill the canvas but for a border.
        canvas = page.locator("#photo canvas").first.bounding_box()
        scale = page.evaluate("parseFloat(document.querySelector('#photo').innerText.match(/(\\d+)%/)[1]) / 100")
        x = canvas["x"] + canvas["width"] / 2 + (226 - 256) * scale
        y = canvas["y"] + canvas["height"] / 2 + (150 - 256) * scale
        page.mouse.move(x - 10, y)
        page.mouse.down()
        page.mouse.move(x + 10, y, steps=3)
        page.mouse.up()
        page.wait_for_selector("#effect table")
        assert "landmarks under the brush" in page.inner_text("#effect table")
        shoot("3_painted")
        browser.close()
    assert requests
    assert all(url.startswith((address, "blob:", "data:")) for url in requests)
