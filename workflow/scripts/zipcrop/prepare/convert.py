"""Conversion: weights are checked and made into a prepared model for the engines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop.detect import detector
from zipcrop.detect.model import Model, check_weights_file, sha256
from zipcrop.detect.weights import judged, load
from zipcrop.errors import ModelError, machine_faults

from ultralytics.engine.exporter import Exporter  # isort: skip - `weights` has restricted ultralytics
from ultralytics.utils import SETTINGS  # isort: skip

if TYPE_CHECKING:
    from torch.nn import Module


def prepare(path: Path, target: Path, expected: str = "") -> Model:
    """Checks the weights at `path`, and writes all that the engines need into the folder of `target`, a JSON file that
    is written last.

    Raises ModelError as `weights.load` does, and if their SHA-256 does not begin with `expected` or if they cannot be
    converted; MachineError if the disk is full and the like.
    """
    with machine_faults(f"preparing {path} in {target.parent}"):
        return _prepare(path, target, expected)


def _prepare(path: Path, target: Path, expected: str) -> Model:
    check_weights_file(path)
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # lest it describe files that are being replaced
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        weights = Path(shutil.copyfile(path, Path(made) / "weights.pt"))
        digest = sha256(weights)
        if not digest.startswith(expected):
            raise ModelError(f"the weights {path} changed since the run began; run again once they are complete")
        model = load(weights, path)
        exported = _export(model, Path(made), path)
        # By renaming: files that other processes have mapped stay intact.
        weights.replace(folder / weights.name)
        for suffix in (".bin", ".xml"):
            (exported / f"weights{suffix}").replace(folder / f"openvino{suffix}")
    classes = detector.class_names(model, path)
    return Model(
        sha256=digest,
        name=path.name,
        task=model.task,
        classes=classes,
        person=detector.person_class(classes, path),
        stride=detector.stride(model, path),
        weights=weights.name,
        openvino="openvino.xml",
    ).write(target)


def _export(model: Module, folder: Path, shown: Path) -> Path:
    """Converts a detector for OpenVINO in `folder`, where its weights are. Gives the folder of the result."""
    # ultralytics would advertise OpenVINO once, and note that in the user's settings.
    dict.update(SETTINGS, openvino_msg=False)
    # Not YOLO.export, which would load the weights again, and take the options of their training for settings.
    settings = {
        "mode": "export",
        "format": "openvino",
        "dynamic": True,
        "imgsz": detector.example_size(model),
        "batch": 1,
        "verbose": False,
    }
    with judged(shown, "cannot be converted", folder):
        return Path(Exporter(overrides=settings)(model=model))
