"""What pyproject.toml asks for is what constraints.txt and constraints-lowest.txt hold."""

import tomllib

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
