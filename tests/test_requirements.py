"""What pyproject.toml asks for is what constraints.txt and constraints-lowest.txt hold."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.campaigns.process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def requirements(extras: list[str]) -> list[Requirement]:
    texts = PROJECT["dependencies"] + [
        t for e in extras for t in PROJECT["optional-dependencies"][e]
    ]
    asked = map(Requirement, texts)
    return [r for r in asked if not r.marker or r.marker.evaluate()]


@pytest.mark.parametrize("asked", requirements(["test"]), ids=lambda asked: asked.name)
def test_the_lowest_versions_tested_are_the_lower_bounds(asked: Requirement):
    (bound,) = asked.specifier
    assert bound.operator == ">="
    assert pins("constraints-lowest.txt")[canonicalize_name(asked.name)] == Version(bound.version)


@pytest.mark.parametrize(
    "asked",
    requirements([e for e in PROJECT["optional-dependencies"] if e not in ("tpu", "cuda")]),
    ids=lambda asked: asked.name,
)
def test_every_requirement_is_pinned_to_a_version_it_allows(asked: Requirement):
    assert pins("constraints.txt")[canonicalize_name(asked.name)] in asked.specifier


def test_other_constraints_are_installed_anew(tmp_path: Path):
    """`make test CONSTRAINTS=` takes the newest, whatever an environment holds."""

    # Where make runs these tests, its own EXTRAS and CONSTRAINTS come down by MAKEFLAGS, too.
    down = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "EXTRAS", "CONSTRAINTS", "VENV", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in down}

    def to_install(*settings: str) -> list[str]:
        command = ["make", "--dry-run", "install", f"VENV={tmp_path}", *settings]
        told = subprocess.run(
            command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        return re.findall(r"\s(--constraint \S+|--upgrade) ", told.stdout)

    assert to_install() == ["--constraint constraints.txt"]
    (tmp_path / "installed-test-constraints.txt").touch()
    assert to_install() == []
    assert to_install("EXTRAS=test,onnx") == ["--constraint constraints.txt"]
    assert to_install("CONSTRAINTS=") == ["--upgrade"]
    lowest = "CONSTRAINTS=constraints-lowest.txt"
    assert to_install(lowest) == ["--constraint constraints-lowest.txt"]
