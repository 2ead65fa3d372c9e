"""The real detector behind scripts/predict.py and the demo's page, as a user starts them."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import runs
from tests.parity.test_landmarks import ASTRONAUT
from tests.test_demo_app_script import served
from tests.test_photographs import write_video

pytestmark = pytest.mark.parity


def test_every_face_of_a_photograph_and_of_every_second_frame(finished: Path, tmp_path: Path):
    """Her twice in a picture, the second time smaller; three frames; and a picture of nobody."""
    face = Image.open(ASTRONAUT)
    width, height = face.size
    both = Image.new("L", (2 * width, height), 128)
    both.paste(face, (0, 0))
    both.paste(face.resize((width * 3 // 4, height * 3 // 4)), (width + width // 8, height // 8))
    photos, output = tmp_path / "photos", tmp_path / "answers"
    photos.mkdir()
    both.save(photos / "a.png")
    write_video(photos / "b.mkv", np.stack([np.asarray(face)] * 3))
    Image.new("L", (100, 100), 128).save(photos / "c.png")
    flags = [f"--workdir={finished}", f"--output={output}", "--every=2", "--alignment=affine"]
    status, told = runs.finish("predict", *flags, str(photos))
    assert status == 0, told
    assert "4 faces in 3 files; 1 pictures without" in told
    rows = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    assert [(Path(row["file"]).name, row["frame"], row["status"]) for row in rows] == [
        ("a.png", None, "aligned"),
        ("a.png", None, "aligned"),
        ("b.mkv", 0, "aligned"),
        ("b.mkv", 2, "aligned"),
        ("c.png", None, "no_face"),
    ]
    large, small, first, second, nobody = rows
    assert nobody["box"] is nobody["predicted"] is nobody["probabilities"] is None
    for row in rows[:4]:
        left, top, right, bottom = row["box"]
        assert left < right
        assert top < bottom
        assert row["score"] > 0.95
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert large["box"][2] < width < small["box"][0]
    assert small["eyes"] == pytest.approx(0.75 * large["eyes"], rel=0.1)
    assert first["eyes"] == pytest.approx(large["eyes"], rel=0.05)  # 43 by eye (test_landmarks)
    assert first["eyes"] == pytest.approx(43, abs=4)
    assert first["probabilities"] == second["probabilities"]


def test_an_upload_to_the_page_is_found_aligned_and_answered(finished: Path, tmp_path: Path):
    """As scripts/predict.py answers for the same file."""
    flags = [f"--workdir={finished}", "--alignment=similarity"]
    status, told = runs.finish("predict", *flags, f"--output={tmp_path}", str(ASTRONAUT))
    assert status == 0, told
    expected = json.loads((tmp_path / "predictions.jsonl").read_text())["probabilities"]
    with served(*flags) as (_, host, port):
        address = f"http://{host}:{port}/faces"
        with urllib.request.urlopen(address, ASTRONAUT.read_bytes(), timeout=60) as said:
            (face,) = json.load(said)["faces"]
    assert face["probabilities"] == pytest.approx(expected, abs=1e-5)  # that has six digits
    assert face["warning"] == ""
