from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, WEIGHTS

from zipcrop import weights
from zipcrop.errors import ModelError
from zipcrop.model import Model, sha256, weights_path


@pytest.fixture
def changed_weights(tmp_path: Path) -> Callable[..., Path]:
    """The bundled weights with attributes of the model changed."""
    import torch

    def make(**attributes: Any) -> Path:
        checkpoint = torch.load(WEIGHTS, weights_only=False, map_location="cpu")
        for name, value in attributes.items():
            setattr(checkpoint["ema"] or checkpoint["model"], name, value)
        torch.save(checkpoint, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    return make


def test_prepared_model(model_json: Path) -> None:
    model = Model.read(model_json)
    assert (model.task, model.classes, model.person, model.stride) == ("detect", ["person"], 0, 32)
    assert model.sha256 == sha256(WEIGHTS)
    assert Path(model.weights).read_bytes() == WEIGHTS.read_bytes()
    assert Path(model.openvino).exists() and Path(model.openvino).with_suffix(".bin").exists()
    assert not Path(json.loads(model_json.read_text())["openvino"]).is_absolute()


def test_person_may_be_any_class(changed_weights: Callable[..., Path]) -> None:
    assert weights.person_class(["cat", "Person "], Path("x.pt")) == 1
    assert weights.person_class(["0", "1", "2"], Path("x.pt")) == 0
    with pytest.raises(ModelError, match=r"know no class called person \(they know dog\)"):
        weights.load(changed_weights(names={0: "dog"}))


@pytest.mark.parametrize("content", [b"", b"no weights at all", WEIGHTS.read_bytes()[:100_000]])
def test_damaged_weights_are_named_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"best.pt cannot be loaded: the file is damaged") as refused:
        weights.load(tmp_path / "best.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"task": "segment"}, "for the task segment; zipcrop needs a detector"), ({"end2end": True}, "head without NMS")],
)
def test_other_models_are_refused(
    changed_weights: Callable[..., Path], attributes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "end2end" in attributes:
        from ultralytics.nn.tasks import DetectionModel

        monkeypatch.setattr(DetectionModel, "end2end", True)
        attributes = {}
    with pytest.raises(ModelError, match=said):
        weights.load(changed_weights(**attributes))


def test_code_in_weights_is_not_run(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "it ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    script = ROOT / "workflow/scripts/prepare_model.py"
    command = [sys.executable, script, tmp_path / "evil.pt", tmp_path / "prepared" / "model.json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "evil.pt cannot be loaded" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "it ran").exists()


def test_weights_that_changed_since_the_run_began_are_refused(tmp_path: Path) -> None:
    """They would fill the folder of other ones, and results would be theirs."""
    target = tmp_path / "prepared" / "model.json"
    with pytest.raises(ModelError, match=r"person-n.pt changed since the run began; run again"):
        weights.prepare(WEIGHTS, target, expected="0123456789abcdef")
    assert not target.exists()


def test_an_unknown_name_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a file nor the name of official weights; put the weights at"):
        weights.fetch(tmp_path / "mine.pt")


def test_where_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_path("yolov8s.pt") == Path("models/yolov8s.pt")
    (tmp_path / "yolov8s.pt").write_bytes(b"weights")
    assert weights_path("yolov8s.pt") == Path("yolov8s.pt")
    with pytest.raises(ModelError, match=r"there are no weights at runs/best.pt"):
        weights_path("runs/best.pt")
