"""The demo's page in a browser: pictures given in each way, what it shows, and what it refuses."""

import base64
import contextlib
import io
import re
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from ifgan_jax.attention_maps import QUERY_POINTS, attention_maps
from ifgan_jax.data import align
from ifgan_jax.web.answers import MAX_BYTES, Answerer
from ifgan_jax.web.app import App
from ifgan_jax.web.connection import PromptConnection
from tests import untrained
from tests.browser.conftest import without_errors

FACE = np.random.default_rng(0).integers(0, 256, (36, 36)).astype(np.uint8)
# What is drawn in the middle of each cell of side × side, line by line.
CELLS = """(canvas, side) => {
  const context = canvas.getContext("2d");
  const at = (index, size) => Math.floor((index + 0.5) * size / side);
  return [...Array(side * side).keys()].map((i) => [...context.getImageData(
    at(i % side, canvas.width), at(Math.floor(i / side), canvas.height), 1, 1).data].slice(0, 3));
}"""
# The weights of the map that is shown.
MAP = "canvas => [...canvas.weights].map((w) => +w.toFixed(7)).join()"


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(untrained.predictor(untrained.IFGAN), align.GIVEN)


@contextlib.contextmanager
def served(answerer: Answerer) -> Iterator[str]:
    """The address of a server in a thread, as scripts/demo_app.py starts it."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = App(answerer, any_host=False)
    config = uvicorn.Config(app, http=PromptConnection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    server.should_exit = True
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def address(answerer: Answerer) -> Iterator[str]:
    with served(answerer) as at:
        yield at


def upload(page: Page, content: bytes, name: str = "face.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})


def test_an_upload_is_answered_as_python_answers(page: Page, address: str, answerer: Answerer):
    page.goto(address)
    upload(page, png(FACE))
    expect(page.locator("#status")).to_have_text("1 face")
    shares = answerer.predictor(FACE[None, ..., None]).probabilities[0]
    names = answerer.predictor.class_names
    shown = page.locator(".shares tr")
    expect(shown).to_have_count(len(names))
    for line, name, share in zip(shown.all(), names, shares, strict=True):
        assert line.locator("th").inner_text() == name
        assert line.locator(".number").inner_text() == f"{100 * share:.1f} %"
    best = f"{names[shares.argmax()]}, {100 * shares.max():.1f} %"
    expect(page.locator(".face h2")).to_have_text(best)
    (answered,) = answerer(png(FACE))["faces"]
    assert answered["input"] != answered["generated"]
    for which in ("input", "generated"):
        image = page.locator(f".{which} img")
        assert image.get_attribute("src") == answered[which]
        # the centre of 36, as the networks see it
        assert image.evaluate("image => image.naturalWidth") == 32


def test_the_map_of_a_clicked_point_is_that_of_fig_6(page: Page, address: str, answerer: Answerer):
    page.goto(address)
    upload(page, png(FACE))
    canvas, face = page.locator("canvas"), page.locator(".generated .frame")
    expect(canvas).to_have_attribute("aria-label", re.compile("from row 4, column 3 of 8"))
    predictor = answerer.predictor
    source = predictor(FACE[None, ..., None]).source
    maps = attention_maps(predictor.compiled.networks, predictor.state.generator, source)[0]
    assert np.abs(maps[0] / maps[0].T - 1).max() > 0.01  # rows are no columns
    box = face.bounding_box()
    assert box is not None
    for (row, column), expected in zip(QUERY_POINTS.values(), maps, strict=True):
        x, y = ((int(share * 8) + 0.5) / 8 for share in (column, row))
        face.click(position={"x": x * box["width"], "y": y * box["height"]})
        shown = canvas.evaluate("canvas => [...canvas.weights]")
        np.testing.assert_allclose(shown, expected.ravel(), rtol=1e-4)
        colours = np.array(canvas.evaluate(CELLS, 8)).sum(-1)  # red, green and blue
        assert np.corrcoef(colours.ravel(), expected.ravel())[0, 1] > 0.5


def test_a_click_and_the_keys_move_the_point(page: Page, address: str):
    page.goto(address)
    upload(page, png(FACE))
    canvas, face = page.locator("canvas"), page.locator(".generated .frame")
    expect(canvas).to_have_attribute("aria-label", re.compile("from row 4, column 3 of 8"))
    first = canvas.evaluate(MAP)
    face.click(position={"x": 4, "y": 4})
    corner = canvas.evaluate(MAP)
    label = canvas.get_attribute("aria-label")
    assert corner != first
    assert label is not None
    assert "from row 1, column 1 of 8" in label
    assert sum(map(float, corner.split(","))) == pytest.approx(1, abs=1e-4)
    face.press("ArrowRight")
    assert "from row 1, column 2 of 8" in (canvas.get_attribute("aria-label") or "")
    face.press("ArrowDown")
    assert "from row 2, column 2 of 8" in (canvas.get_attribute("aria-label") or "")
    face.press("ArrowUp")
    face.press("ArrowLeft")
    assert canvas.evaluate(MAP) == corner


@pytest.fixture
def refusing(browser: Browser) -> Iterator[Page]:
    """A page without the watch of `page`: the browser logs a refusal's status as an error."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_refusals_are_shown_and_the_next_picture_is_answered(refusing: Page, address: str):
    refusing.goto(address)
    upload(refusing, b"only text", "text.png")
    expect(refusing.locator("#problem")).to_contain_text("unknown format")
    expect(refusing.locator("#faces")).to_be_empty()
    upload(refusing, bytes(MAX_BYTES + 1), "large.png")
    expect(refusing.locator("#problem")).to_have_text("large.png is larger than 16 MiB: shrink it")
    upload(refusing, png(FACE))
    expect(refusing.locator("#status")).to_have_text("1 face")
    expect(refusing.locator("#problem")).to_be_empty()


@pytest.mark.parametrize(
    "event",
    [
        'new DragEvent("drop", { dataTransfer: data, cancelable: true })',
        'new ClipboardEvent("paste", { clipboardData: data })',
    ],
    ids=["dropped", "pasted"],
)
def test_a_picture_is_dropped_or_pasted(event: str, page: Page, address: str):
    page.goto(address)
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "face.png", { type: "image/png" }));
          document.dispatchEvent(EVENT);
        }""".replace("EVENT", event),
        list(png(FACE)),
    )
    expect(page.locator("#status")).to_have_text("1 face")


def test_on_a_phone_in_the_dark(browser: Browser, address: str):
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, color_scheme="dark", has_touch=True)
    with without_errors(context.new_page()) as page:
        page.goto(address)
        upload(page, png(FACE))
        expect(page.locator("#status")).to_have_text("1 face")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        colours = [
            page.evaluate("(n) => getComputedStyle(document.body)[n]", name)
            for name in ("backgroundColor", "color")
        ]
        dark, ink = (sum(map(int, c.strip("rgb()").split(","))) for c in colours)
        assert dark < 200 < 500 < ink
        page.locator(".generated .frame").tap(position={"x": 3, "y": 3})
        assert "from row 1, column 1" in (page.locator("canvas").get_attribute("aria-label") or "")
    context.close()


def test_without_a_camera_the_button_says_so(page: Page, address: str):
    page.goto(address)
    expect(page.locator("#camera-note")).to_have_text("no camera found")
    expect(page.locator("#camera")).to_be_disabled()


def test_a_picture_is_taken(camera: Page, address: str):
    camera.goto(address)
    camera.locator("#camera").click()
    expect(camera.locator("#video")).to_have_js_property("readyState", 4)  # it has pictures
    camera.locator("#take").click()
    expect(camera.locator("#status")).to_have_text("1 face")
    taken = camera.locator(".input img").get_attribute("src") or ""
    picture = Image.open(io.BytesIO(base64.b64decode(taken.partition("base64,")[2])))
    assert np.asarray(picture.convert("L")).std() > 10  # the browser's test pattern, not black
    camera.locator("#stop").click()
    expect(camera.locator("#live")).to_be_hidden()


def test_a_camera_is_opened_once_and_closed(camera: Page, address: str):
    """Clicked again before it is there: a second stream would be nobody's to close."""
    camera.add_init_script("""
        window.opened = [];
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            const stream = await open(wanted);
            opened.push(...stream.getTracks());
            return stream;
        };
    """)
    camera.goto(address)
    expect(camera.locator("#camera")).to_be_enabled()
    camera.locator("#camera").evaluate("(button) => { button.click(); button.click(); }")
    expect(camera.locator("#video")).to_have_js_property("readyState", 4)
    assert camera.evaluate("opened.map((track) => track.readyState)") == ["live"]
    camera.locator("#stop").click()
    assert camera.evaluate("opened.map((track) => track.readyState)") == ["ended"]
    expect(camera.locator("#camera")).to_be_enabled()


def test_baseline_has_no_generated_face(page: Page):
    with served(Answerer(untrained.predictor(untrained.BASELINE), align.GIVEN)) as address:
        page.goto(address)
        upload(page, png(FACE))
        expect(page.locator(".hint")).to_contain_text("the baseline")
        expect(page.locator(".generated")).to_have_count(0)
        expect(page.locator("canvas")).to_have_count(0)
        page.close()  # the server waits for its connections
