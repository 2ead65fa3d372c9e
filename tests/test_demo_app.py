"""The demo's page, asked in this process: what it answers, and all that it refuses."""

import asyncio
import base64
import io
import json
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from ifgan_jax.attention_maps import QUERY_POINTS, attention_maps
from ifgan_jax.data import align
from ifgan_jax.data.detector import Detection
from ifgan_jax.data.vendor import pictures
from ifgan_jax.web import answers, app
from ifgan_jax.web.answers import Answerer
from ifgan_jax.web.app import App
from tests import untrained

LOCAL = {"host": "127.0.0.1:8000"}


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


def ask(
    asked: App, method: str, path: str, parts: Sequence[bytes] = (b"",), headers: Any = LOCAL
) -> Said:
    """One request, its body in parts; None in place of a part: the other side has gone."""
    left, sent = list(parts), []

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    finish(asked(scope, receive, send))
    start, body = sent
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    assert int(told["content-length"]) == len(body["body"])
    return Said(start["status"], told, body["body"])


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: in this one the browser tests' Playwright may hold a loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def file_of(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def pixels_of(url: str) -> np.ndarray:
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


FACES = np.random.default_rng(0).integers(0, 256, (4, 36, 36)).astype(np.uint8)
FACE = file_of(FACES[0])
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n"  # a program


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(untrained.predictor(untrained.IFGAN), align.GIVEN)


@pytest.fixture
def served(answerer: Answerer) -> App:
    return App(answerer, any_host=False)


def test_a_picture_is_answered_as_python_answers(served: App, answerer: Answerer):
    """Probabilities and both pictures are the Predictor's, maps those of Fig. 6."""
    said = ask(served, "POST", "/faces", [FACE[:50], b"", FACE[50:]])
    assert (said.status, said.json["warning"]) == (200, "")
    (face,) = said.json["faces"]
    expected = answerer.predictor(FACES[:1, ..., None])
    assert list(face["probabilities"]) == answerer.predictor.class_names
    shares = list(face["probabilities"].values())
    np.testing.assert_allclose(shares, expected.probabilities[0], atol=1e-6)
    for name, image in (("input", expected.source), ("generated", expected.generated)):
        shown = pixels_of(face[name]).astype(float) / 127.5 - 1
        np.testing.assert_allclose(shown, image[0, ..., 0], atol=0.51 / 127.5)
    side = face["attention"]["side"]
    query, key = (
        np.frombuffer(base64.b64decode(face["attention"][name]), "<f4").reshape(side * side, -1)
        for name in ("query", "key")
    )
    weights = np.exp(query @ key.T)
    weights /= weights.sum(-1, keepdims=True)
    predictor = answerer.predictor
    maps = attention_maps(predictor.compiled.networks, predictor.state.generator, expected.source)
    points = [int(r * side) * side + int(c * side) for r, c in QUERY_POINTS.values()]
    np.testing.assert_allclose(maps[0].reshape(3, -1), weights[points], rtol=1e-4)


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_every_format_named_is_read(kind: str, served: App):
    assert ask(served, "POST", "/faces", [file_of(FACES[0], kind)]).status == 200


@pytest.mark.parametrize(
    ("changes", "told"),
    [(untrained.BASELINE, "the baseline"), (untrained.NO_ATTENTION, "has no attention")],
)
def test_runs_without_attention(changes: dict[str, Any], told: str):
    served = App(Answerer(untrained.predictor(changes), align.GIVEN), any_host=False)
    assert told in ask(served, "GET", "/").body.decode()
    (face,) = ask(served, "POST", "/faces", [FACE]).json["faces"]
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert face["attention"] is None
    assert (face["generated"] is None) == (changes == untrained.BASELINE)


def test_the_page_and_its_files_ask_for_nothing_outside(served: App):
    kinds = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}
    for path, kind in kinds.items():
        said = ask(served, "GET", path)
        assert (said.status, said.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert b"://" not in said.body
        assert ask(served, "HEAD", path).status == 200
    body = ask(served, "GET", "/").body.decode()
    assert "not an emotion felt" in body
    assert "$" not in body


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/favicon.ico", 404, "no such page"),
        ("GET", "/../answers.py", 404, "no such page"),
        ("GET", "/faces", 405, "/faces does not take GET"),
        ("OPTIONS", "/faces", 405, "/faces does not take OPTIONS"),
        ("POST", "/", 405, "/ does not take POST"),
    ],
)
def test_other_requests_are_refused(
    method: str, path: str, status: int, told: str, served: App
):  # fmt: skip
    said = ask(served, method, path)
    assert (said.status, said.json) == (status, {"error": told})
    assert said.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "unknown format"),
        (b"only text", "unknown format"),
        (FACE[:-30], "truncated"),
        (FACE[:40], "unknown format"),
        (EPS, "unknown format"),
        (file_of(FACES[0], "GIF"), "unknown format"),
        (
            file_of(np.zeros((8193, 8192), bool)),
            "8192 × 8193 pixels are more than 67 million: shrink it",
        ),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(content: bytes, told: str, served: App):
    said = ask(served, "POST", "/faces", [content])
    assert said.status == 400
    assert told in said.json["error"]
    assert "\n" not in said.json["error"]
    assert "object at" not in said.json["error"]


def test_large_slow_and_broken_uploads(served: App, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app, "MAX_BYTES", 2**20)
    full = FACE + bytes(2**20 - len(FACE))
    assert ask(served, "POST", "/faces", [full]).status == 200  # Pillow reads to the PNG's end
    said = ask(served, "POST", "/faces", [full, b"1", b"2"])
    assert (said.status, said.json) == (413, {"error": "the file is larger than 1 MiB: shrink it"})
    said = ask(served, "POST", "/faces", [FACE[:50], None])
    assert (said.status, said.json) == (400, {"error": "the upload broke off"})
    monkeypatch.setattr(app, "UPLOAD_SECONDS", 0.05)

    async def never() -> dict[str, Any]:
        await asyncio.sleep(30)
        raise AssertionError

    with pytest.raises(answers.RefusedError, match=r"longer than 0\.05 seconds") as refused:
        finish(app._body(never))
    assert refused.value.status == 408


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2:80", "localhost:80", "[::1]:8000", "LOCALHOST"]
)
def test_names_of_this_machine_are_answered_to(host: str, served: App):
    assert ask(served, "GET", "/", headers={"host": host}).status == 200
    same = {"host": host, "origin": f"http://{host}"}
    assert ask(served, "POST", "/faces", [FACE], headers=same).status == 200


@pytest.mark.parametrize(
    "host", ["example.com", "127.0.0.1.example.com", "", "[", "localhost@example.com", "10.0.0.1"]
)
def test_other_names_are_refused_unless_all_are_allowed(
    host: str, served: App, answerer: Answerer
):  # fmt: skip
    said = ask(served, "GET", "/", headers={"host": host})
    assert (said.status, "127.0.0.1 and localhost only" in said.json["error"]) == (403, True)
    assert ask(served, "GET", "/", headers={}).status == 403
    assert ask(App(answerer, any_host=True), "GET", "/", headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "origin", ["http://example.com", "null", "", "http://[", "http://127.0.0.1"]
)
def test_other_pages_are_refused(origin: str, served: App):
    said = ask(served, "POST", "/faces", [FACE], headers={**LOCAL, "origin": origin})
    assert said.status == 403
    assert "not to other pages" in said.json["error"]


def test_threads_ask_at_once(served: App):
    files = [file_of(image) for image in FACES]
    alone = [ask(served, "POST", "/faces", [file]).body for file in files]
    assert len(set(alone)) == len(files)
    with ThreadPoolExecutor(app.UPLOADS) as pool:
        together = list(pool.map(lambda f: ask(served, "POST", "/faces", [f]).body, 5 * files))
    assert together == 5 * alone


def test_a_picture_that_ends_the_detector_is_told(served: App, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        died = mock.Mock(side_effect=OSError("the process that finds faces died: smaller ones"))
        patched.setattr(served._answer, "_faces", died)
        said = ask(served, "POST", "/faces", [FACE])
    assert said.status == 503
    assert said.json == {"error": "the process that finds faces died: smaller ones"}
    assert ask(served, "POST", "/faces", [FACE]).status == 200


def test_one_too_many_is_told_to_come_again(served: App, monkeypatch: pytest.MonkeyPatch):
    for _ in range(app.UPLOADS):
        assert served._places.acquire(blocking=False)
    said = ask(served, "POST", "/faces", [FACE])
    assert (said.status, "too many pictures" in said.json["error"]) == (503, True)
    assert ask(served, "GET", "/").status == 200
    served._places.release(app.UPLOADS)
    monkeypatch.setattr(answers, "WAIT_SECONDS", 0.05)
    with served._answer._turn:
        said = ask(served, "POST", "/faces", [FACE])
    assert (said.status, "before this one" in said.json["error"]) == (503, True)
    assert ask(served, "POST", "/faces", [FACE]).status == 200


def test_a_failure_is_told_and_the_next_picture_is_answered(
    served: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with monkeypatch.context() as broken:
        broken.setattr(served._answer, "_faces", lambda picture: 1 / 0)
        for _ in range(app.UPLOADS + 1):
            said = ask(served, "POST", "/faces", [FACE])
            assert said.status == 500
            assert said.json == {"error": "this failed; the program's own output says why"}
    assert "ZeroDivisionError" in caplog.text
    assert ask(served, "POST", "/faces", [FACE]).status == 200


class Found:
    """In place of MTCNN: faces with these scores, each 20 pixels larger than the one before."""

    def __init__(self, *scores: float) -> None:
        self.scores = np.array(scores, np.float32)

    def detect(self, pictures: list[np.ndarray]) -> list[Detection]:
        sides = 60 + 20 * np.arange(len(self.scores), dtype=np.float32)[:, None]
        boxes = sides * np.array([[0, 0, 1, 1]], np.float32)
        shares = [[0.3, 0.3], [0.7, 0.3], [0.5, 0.6], [0.3, 0.8], [0.7, 0.8]]
        points = sides[..., None] * np.array(shares, np.float32)
        return [Detection(boxes, self.scores, points, turned=False)] * len(pictures)


@pytest.fixture
def photographed(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(answerer, "alignment", "similarity")
    return App(answerer, any_host=False)


def test_warnings_of_found_faces(photographed: App, monkeypatch: pytest.MonkeyPatch):
    picture = file_of(np.random.default_rng(1).integers(0, 256, (400, 400)).astype(np.uint8))

    def said(*scores: float) -> dict[str, Any]:
        monkeypatch.setattr(photographed._answer, "_detector", Found(*scores))
        return ask(photographed, "POST", "/faces", [picture]).json

    assert said() == {"faces": [], "warning": align.MISSING}
    two = said(0.99, 0.8)  # the second is larger
    assert [face["warning"] for face in two["faces"]] == [
        "the detector is unsure that this is a face (0.80)", ""
    ]  # fmt: skip
    assert two["warning"] == ""
    many = said(*[0.99] * (answers.MAX_FACES + 1))
    assert len(many["faces"]) == answers.MAX_FACES
    assert many["warning"] == "13 faces; the 12 largest are shown"
    monkeypatch.setattr(align, "TINY", 300.0)
    assert said(0.5)["faces"][0]["warning"] == (
        "24 pixels between the eyes; enlarged; the detector is unsure that this is a face (0.50)"
    )


def test_nothing_is_compiled_after_the_start(caplog: pytest.LogCaptureFixture):
    fresh = App(Answerer(untrained.predictor(untrained.IFGAN), align.GIVEN), any_host=False)
    with caplog.at_level(logging.DEBUG, "jax._src.dispatch"):
        assert ask(fresh, "POST", "/faces", [FACE]).status == 200
    assert [line for line in caplog.messages if "Finished XLA compilation" in line] == []
