"""The recipe of the bundled detector, for two steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from helpers.project import ROOT
from make_archives import MAN_IN_BLACK, PAVEMENT, ROOF, TREE, TWO_MEN, photo
from zipcrop.detect import weights

TRAIN = (sys.executable, str(ROOT / "training" / "train.py"))


def test_two_steps_make_weights_and_a_record(tmp_path: Path) -> None:
    photos = tmp_path / "set" / "images"
    labels = tmp_path / "set" / "labels"
    photos.mkdir(parents=True)
    labels.mkdir()
    for name, box in {"men": TWO_MEN, "man": MAN_IN_BLACK, "pavement": PAVEMENT, "roof": ROOF, "tree": TREE}.items():
        photo("bus.jpg").crop(box).save(photos / f"{name}.jpg")
        (labels / f"{name}.txt").write_text("0 0.5 0.5 0.8 0.9\n" if name in {"men", "man"} else "")
    result = tmp_path / "results" / "tiny.pt"
    size = ["--epochs", "1", "--image-size", "64", "--batch", "2", "--held-out", "0.2", "--seed", "7"]
    subprocess.run([*TRAIN, tmp_path / "set", result, "mixup=0.2", *size], check=True)

    record = json.loads(result.with_suffix(".json").read_text())
    assert (record["steps"], record["seed"], record["recipe"]["mixup"]) == (2, 7, 0.2)
    assert record["dataset"] == {"name": "set", "sha256": "", "images": 4, "held_out": 1, "persons": 2}
    (measured,) = record["held_out_results"]
    assert measured["train/cls_loss"] > 0
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert result.stat().st_size < 7e6
    assert str(tmp_path).encode() not in result.read_bytes()
    stored = torch.load(result, weights_only=False)["model"]
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert weights.load(result).names == {0: "person"}


@pytest.mark.slow
def test_a_long_run_is_measured_now_and_then(tmp_path: Path) -> None:
    images = tmp_path / "set" / "images"
    images.mkdir(parents=True)
    (tmp_path / "set" / "labels").mkdir()
    for name in ("a", "b", "c"):
        photo("bus.jpg").crop(MAN_IN_BLACK).save(images / f"{name}.jpg")
        (tmp_path / "set" / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.8 0.9\n")
    result = tmp_path / "tiny.pt"
    size = ["--epochs", "43", "--image-size", "64", "--batch", "2"]
    subprocess.run([*TRAIN, tmp_path / "set", result, *size], check=True)
    record = json.loads(result.with_suffix(".json").read_text())
    assert [row["epoch"] for row in record["held_out_results"]] == [*range(3, 43, 3), 43]


def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as refused:
            train.main()
        return str(refused.value)

    said = f"{tmp_path} has 0 images in a folder called images; at least 2 are needed"
    assert refusal(tmp_path, tmp_path / "tiny.pt") == said
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        photo("bus.jpg").crop(TREE).save(tmp_path / "images" / f"{name}.jpg")
    assert refusal(tmp_path, tmp_path / "tiny.pt", "lr=1").startswith("'lr' is not a valid YOLO argument. Similar")
    assert refusal(tmp_path, tmp_path / "tiny.pt", "imgsz=64").startswith("imgsz is not part of the recipe")
    assert refusal(tmp_path, tmp_path / "tiny").endswith("tiny does not end in .pt, as the file of the weights must")
    assert refusal(tmp_path, tmp_path / "tiny.pt", "lr0").startswith("lr0 is no setting; write it as KEY=VALUE")
