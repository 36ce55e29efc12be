"""The floors of setup.cfg are the versions that the stage `floors` of .ci/run tests with."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("demo", "vision", "test")


def requirements() -> list[Requirement]:
    """What the package and the extras of its tests require."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = [parser["options"]["install_requires"], *(parser["options.extras_require"][extra] for extra in EXTRAS)]
    lines = [line for each in lists for line in each.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "%"))]


def pins(name: str) -> dict[str, Version]:
    """The versions that a file of constraints names."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(each.name): Version(next(iter(each.specifier)).version) for each in found}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_a_floor_is_tested(requirement: Requirement) -> None:
    [floor] = requirement.specifier
    assert floor.operator == ">="
    name = canonicalize_name(requirement.name)
    if name == "torch":
        assert name not in pins(".ci/floors.txt")
    else:
        assert pins(".ci/floors.txt")[name] == Version(floor.version)
    assert pins("constraints.txt")[name] >= Version(floor.version)


def test_the_stage_names_files_and_tests_that_exist() -> None:
    """A file that is renamed would otherwise be run again, or a test that is left out would stay so for nothing."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    body = script.split("FLOORS_LEAVE_OUT=(")[1].split("\n)")[0]
    words = [word.strip("\"'") for line in body.splitlines() if "#" not in line for word in line.split()]
    paths = [word for word in words if word.startswith("tests/")]
    assert len(paths) > 5
    for path in paths:
        file, _, test = path.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not test or f"def {test.partition('[')[0]}(" in text
