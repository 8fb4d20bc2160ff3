"""One set of pins: the conda environment and the one that `make setup` makes."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import packages_distributions

import pytest
import yaml

from helpers.project import ROOT

ENVS = ROOT / "envs"


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ENVS / name).read_text(), re.MULTILINE))


def test_conda_has_the_same_pins() -> None:
    environment = yaml.safe_load((ENVS / "zipcrop.yaml").read_text())
    (packages,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    conda = dict(package.split("==") for package in packages)
    locked = pins("requirements.txt")
    assert conda == {package: locked[package] for package in conda}
    direct = set(re.findall(r"^[\w-]+", (ENVS / "requirements.in").read_text(), re.MULTILINE))
    # What runs Snakemake itself reads the configuration, too; networkx is there for its bound alone.
    snakemake = {package for package in direct if package.startswith("snakemake")}
    assert direct - set(conda) - snakemake <= {"jsonschema", "pyyaml", "networkx"}


def test_conda_quantises_with_the_same_pins() -> None:
    environment = yaml.safe_load((ENVS / "quantize.yaml").read_text())
    (packages,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    conda = dict(package.split("==") for package in packages)
    locked = {**pins("requirements.txt"), **pins("requirements-int8.txt")}
    assert conda == {package: locked[package] for package in conda}
    assert "nncf" in conda


def test_all_that_make_installs_is_compiled() -> None:
    rule = "--eval=show: ; @echo $$UV_COMPILE_BYTECODE"
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "MAKE"))}
    done = subprocess.run(["make", rule, "show"], cwd=ROOT, env=usual, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("others", ["int8", "dev"])
def test_other_pins_do_not_contradict(others: str) -> None:
    locked, other = pins("requirements.txt"), pins(f"requirements-{others}.txt")
    shared = locked.keys() & other.keys()
    assert {package: other[package] for package in shared} == {package: locked[package] for package in shared}


def test_there_is_one_opencv_and_it_is_headless() -> None:
    assert set(packages_distributions()["cv2"]) == {"opencv-python-headless"}
    assert "opencv-python" not in pins("requirements.txt")
