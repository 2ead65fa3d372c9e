"""A full disk where answers go: a line that says so, and nothing cut short under a final name."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ifgan_jax import study
from ifgan_jax.comparison import write_comparison
from ifgan_jax.paper_tables import write_tables
from ifgan_jax.results import write_failure, write_result
from ifgan_jax.workdir import read_config, write_json
from tests import runs


@pytest.fixture
def full(small_disk: Path) -> Path:
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    assert os.statvfs(small_disk).f_bavail == 0
    return small_disk


def test_export_and_prediction(full: Path, finished: Path, tmp_path: Path):
    Image.fromarray(np.zeros((36, 36), np.uint8)).save(tmp_path / "a.png")
    workdir = f"--workdir={finished}"
    for script, *arguments in (("export",), ("predict", "--aligned", str(tmp_path / "a.png"))):
        output = full / script
        status, told = runs.finish(script, workdir, f"--output={output}", *arguments)
        assert status == 1
        assert f"error: a file of {output} could not be written ([Errno 28]" in told
        assert "start the same command again" in told
        assert all(path.stat().st_size == 0 for path in output.rglob("*") if path.is_file())


def test_comparison(full: Path, finished: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "metrics.json"):
        (other / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(OSError, match=r"page\.html could not be written .*Errno 28"):
        write_comparison([finished, other], full / "page.html")
    assert not list(full.glob("page*"))


def test_tables_and_study(full: Path, tmp_path: Path):
    (tmp_path / "results").mkdir()
    committed = Path(__file__).parent.parent / "docs" / "study" / "development"
    for write, results in ((write_tables, [tmp_path / "results"]), (study.write, committed)):
        output = full / write.__module__
        with pytest.raises(OSError, match=rf"a file of {output} could not be .*28.*: '.*\.md'"):
            write(results, output)
        assert not list(output.iterdir())


def test_what_came_of_a_run_is_named(full: Path, finished: Path):
    config = read_config(finished)
    for write in (
        lambda: write_result(full / "results", "ifgan", config, {}, finished),
        lambda: write_failure(full / "results", "ifgan", config, ValueError("why")),
    ):
        with pytest.raises(OSError, match=r"results/.*json could not be .*28.*is not run again"):
            write()
    assert all(path.stat().st_size == 0 for path in (full / "results").iterdir())


def test_the_file_is_named(full: Path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/one\.json'"):
        write_json(full / "one.json", {})
    assert not list(full.glob("one*"))
