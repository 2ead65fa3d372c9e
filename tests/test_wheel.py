"""The wheel, built and installed in a fresh environment, carries the embedded data set."""

import ast
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DATA = "ifgan_jax/data/synthetic/"
FILES = ("head_model.npz", "PROVENANCE.md", "LICENSE-CC0.txt")


def test_wheel_holds_head_model_licence_and_provenance(tmp_path: Path):
    source = tmp_path / "source"  # a copy: an old build folder must not help
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "ifgan_jax", source / "ifgan_jax", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {DATA + name for name in FILES} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not {name.partition("/")[0] for name in names} & {"tests", "configs", "scripts"}

    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import importlib.resources as r, ifgan_jax\n"
        "folder = r.files('ifgan_jax') / 'data' / 'synthetic'\n"
        f"print([len(folder.joinpath(n).read_bytes()) for n in {FILES!r}])\n"
        "print(ifgan_jax.__file__)"
    )
    ask = [str(python), "-I", "-c", code]
    done = subprocess.run(ask, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sizes, where = done.stdout.splitlines()
    assert str(fresh) in where
    head_model, provenance, licence = ast.literal_eval(sizes)
    assert 1_000_000 < head_model <= 1_500_000
    assert min(provenance, licence) > 500
