"""Weights: fetched, checked and converted. The only module beside the torch engine that imports ultralytics."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop import imports
from zipcrop.errors import ModelError
from zipcrop.model import Model, sha256

if TYPE_CHECKING:
    from torch.nn import Module


def fetch(target: Path) -> None:
    """Downloads the official weights called `target.name` to `target`, whole or not at all.

    Raises ModelError where the name is no official one, where there is no network, or where what came does not load.
    """
    imports.restrict_ultralytics(offline=False)
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    advice = f"put the weights at {target} yourself, or set model to the path of a weights file"
    if target.name not in GITHUB_ASSETS_NAMES:
        raise ModelError(f"model {target.name} is neither a file nor the name of official weights; {advice}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = Path(folder) / target.name
        try:
            attempt_download_asset(download)
        except Exception as error:  # requests, sockets and ultralytics raise many kinds here
            raise ModelError(f"{target.name} could not be downloaded ({_first_line(error)}); {advice}") from None
        if not download.exists():
            raise ModelError(f"{target.name} could not be downloaded; {advice}")
        load(download)
        download.rename(target)


def load(path: Path, known_as: Path | None = None) -> Module:
    """The detector in the weights file at `path`, in f32 on the CPU; messages call it `known_as`, if that is given.

    Raises ModelError where the file is damaged, or is not a detector whose output this program reads.
    """
    from ultralytics.nn.tasks import load_checkpoint

    shown = known_as or path
    try:
        model, _ = load_checkpoint(str(path))
    except Exception as error:  # unpickling raises anything
        raise ModelError(
            f"the weights {shown} cannot be loaded: the file is damaged or is not an ultralytics model "
            f"({_first_line(error)}); fetch or export it again"
        ) from None
    if model.task != "detect":
        raise ModelError(
            f"the weights {shown} are for the task {model.task}; zipcrop needs a detector, such as yolov8s.pt"
        )
    if getattr(model, "end2end", False):
        raise ModelError(
            f"the weights {shown} have a head without NMS, which is not supported; use a YOLOv8 or YOLO11 one"
        )
    person_class(list(model.names.values()), shown)
    return model


def person_class(classes: list[str], path: Path) -> int:
    """The index of the class `person`; 0, as in COCO, where the classes have no names but their numbers. Raises
    ModelError, naming the weights at `path`, where there is none."""
    names = [name.strip().lower() for name in classes]
    if names == [str(index) for index in range(len(names))]:
        return 0
    if "person" not in names:
        shown = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
        raise ModelError(f"the weights {path} know no class called person (they know {shown}); use others")
    return names.index("person")


def prepare(path: Path, target: Path, expected: str = "") -> Model:
    """Checks the weights at `path`, and writes into the folder of `target`, a JSON file, all that the engines need.

    Raises ModelError as `load` does, and where their SHA-256 does not begin with `expected`.
    """
    imports.restrict_ultralytics()
    from ultralytics import YOLO

    target.parent.mkdir(parents=True, exist_ok=True)
    weights = target.parent / "weights.pt"
    shutil.copyfile(path, weights)
    digest = sha256(weights)
    if not digest.startswith(expected):
        raise ModelError(f"the weights {path} changed since the run began; run again once they are complete")
    model = load(weights, path)
    with tempfile.TemporaryDirectory() as folder:
        # Export writes beside the weights, so it gets a copy of its own.
        copy = Path(shutil.copyfile(weights, Path(folder) / "weights.pt"))
        exported = Path(YOLO(copy).export(format="openvino", dynamic=True, verbose=False))
        for file in exported.glob("weights.*"):
            shutil.copyfile(file, target.parent / f"openvino{file.suffix}")
    classes = list(model.names.values())
    prepared = Model(
        sha256=digest,
        name=path.name,
        task=model.task,
        classes=classes,
        person=person_class(classes, path),
        stride=int(max(model.stride)),
        weights=weights.name,
        openvino="openvino.xml",
    )
    prepared.write(target)
    return prepared


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removeprefix("ERROR ❌️ ").strip(" ❌")
