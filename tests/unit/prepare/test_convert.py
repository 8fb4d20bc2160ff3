from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.project import WEIGHTS
from zipcrop.detect.model import Model, sha256, weights_path
from zipcrop.errors import ModelError
from zipcrop.prepare import convert


def test_prepared_model(model_json: Path) -> None:
    model = Model.read(model_json)
    assert (model.task, model.classes, model.person, model.stride) == ("detect", ["person"], 0, 32)
    assert model.sha256 == sha256(WEIGHTS)
    assert Path(model.weights).read_bytes() == WEIGHTS.read_bytes()
    assert Path(model.openvino).exists()
    assert Path(model.openvino).with_suffix(".bin").exists()
    assert not Path(json.loads(model_json.read_text())["openvino"]).is_absolute()


def test_weights_that_changed_since_the_run_began_are_refused(tmp_path: Path) -> None:
    """They would fill the folder of other ones, and results would be theirs."""
    target = tmp_path / "prepared" / "model.json"
    with pytest.raises(ModelError, match=r"person-n.pt changed since the run began; run again"):
        convert.prepare(WEIGHTS, target, expected="0123456789abcdef")
    assert not target.exists()


def make_odd(path: Path, kind: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if kind == "a folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "a link to nothing":
        path.symlink_to("nothing")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("a folder", "is a folder"),
        ("FIFO", "is not a file"),
        ("device", "is not a file"),
        ("a link to nothing", "is a link to nothing"),
        ("empty", "is empty"),
    ],
)
@pytest.mark.parametrize("place", ["best.pt", "runs/best.pt", "models/best.pt"])
def test_weights_that_are_no_file_are_refused_at_once(
    place: str, kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_odd(Path(place), kind)
    with pytest.raises(ModelError, match=f"model {place} {said}; set model to a weights file"):
        weights_path(place.removeprefix("models/"))
    with pytest.raises(ModelError, match=place):
        convert.prepare(Path(place), Path("prepared/model.json"))
    if kind != "empty":
        with pytest.raises(ModelError, match=f"{place} cannot be read"):
            sha256(place)
