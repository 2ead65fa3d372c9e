"""`make docs`: no warning, and every public module, class and function is there with its words."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ifgan_jax"
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)


def public(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef, bool]]:
    """Public functions, classes and methods of a module by name; whether a base defines it, too."""

    def below(
        node: ast.Module | ast.ClassDef, prefix: str
    ) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef, bool]]:
        derived = isinstance(node, ast.ClassDef) and bool(node.bases)
        for child in node.body:
            if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
                yield prefix + child.name, child, derived
                if isinstance(child, ast.ClassDef):
                    yield from below(child, f"{prefix}{child.name}.")

    return below(ast.parse(path.read_text()), "")


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.startswith("_")]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_say_what_they_are(path: Path):
    """A method that replaces a base's may leave it to the base."""
    silent = [
        name for name, node, of_base in public(path) if not ast.get_docstring(node) and not of_base
    ]
    assert not silent


def test_make_docs_builds_every_page_without_a_warning(tmp_path: Path):
    (line,) = [x for x in (ROOT / "Makefile").read_text().splitlines() if "-m pdoc" in x]
    command = line.replace("$(BIN)/python", sys.executable).replace("build/api", str(tmp_path))
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr, done.stderr
    for path in modules():
        page = tmp_path / path.relative_to(ROOT).with_suffix(".html")
        text = page.read_text()
        missing = [name for name, _, _ in public(path) if f'id="{name}"' not in text]
        assert not missing, page
