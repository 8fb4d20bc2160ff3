"""Trains the bundled detector, YOLOv8n with one class, from scratch, and writes its weights and a record of the run.

    python training/train.py DATASET WEIGHTS.pt [--epochs N] [--image-size PIXELS] [KEY=VALUE ...]

DATASET is a ZIP archive or a folder in YOLO format, with images/, labels/, and one class: 0, person. KEY=VALUE changes
a setting of the recipe; ultralytics documents them all. Uses the GPU if there is one. The record lies beside WEIGHTS.pt
as WEIGHTS.json: recipe, seed, versions, hardware, and the results on images that were held out.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

import moving_average
from dataset import DatasetError, Split, split

torch.set_num_threads(torch.get_num_threads())  # before ultralytics is imported, which would set it to one
os.environ.setdefault("YOLO_OFFLINE", "1")
os.environ.setdefault("YOLO_AUTOINSTALL", "0")

from ultralytics.engine import trainer as ultralytics_trainer  # noqa: E402 - torch's threads first
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.nn.tasks import load_checkpoint  # noqa: E402

ARCHITECTURE = "yolov8n.yaml"
RECIPE: dict[str, Any] = {
    # As RTMDet is trained from scratch (arXiv 2212.07784), with the learning rate of a smaller batch.
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.01,
    "cos_lr": True,
    "momentum": 0.9,
    "weight_decay": 0.05,
    "warmup_epochs": 3,
    "warmup_bias_lr": 0.0,
    "deterministic": False,  # slower, and on another GPU the weights come out different all the same
    # A few thousand images are soon known by heart, so position, size and colour differ every time.
    "mosaic": 1.0,
    "mixup": 0.1,
    "scale": 0.5,
    "translate": 0.1,
    "degrees": 5.0,
    "fliplr": 0.5,
    "hsv_h": 0.015,
    "hsv_s": 0.7,
    "hsv_v": 0.4,
}
WITHOUT_MOSAIC = 0.1
"""The last part of the epochs sees whole images, as the detector will."""
AVERAGED = 0.02
"""The weights' moving average (EMA) reaches back about this part of all steps. Ultralytics' own, over 10,000 steps,
would still hold the weights of the middle of a short run."""
MEASUREMENTS = 20
"""The held-out images are measured about so often; the best weights of those times are kept."""


class Trainer(DetectionTrainer):  # type: ignore[misc] # ultralytics has no types
    """Ultralytics' trainer, with a moving average that suits the run's length, and rarer measurements."""

    def _setup_train(self) -> None:
        # Ultralytics would try mixed precision out with other weights, which it downloads. Where mixed precision does
        # not work, pass amp=False.
        ultralytics_trainer.check_amp = lambda model: True
        super()._setup_train()
        self.ema.decay = moving_average.decay(AVERAGED * len(self.train_loader) * self.epochs)
        every = math.ceil(self.epochs / MEASUREMENTS)

        def measure_now_and_then(trainer: DetectionTrainer) -> None:
            # Saving without measuring would take the present weights for the best ones, with an old score.
            trainer.args.val = trainer.args.save = (trainer.epoch + 1) % every == 0

        self.add_callback("on_train_epoch_end", measure_now_and_then)


def train(data: Split, weights: Path, folder: Path, options: argparse.Namespace, recipe: dict[str, Any]) -> Trainer:
    """Trains on `data`, with ultralytics' files in `folder`."""
    fixed = {
        "model": ARCHITECTURE,
        "pretrained": False,
        "data": str(data.file),
        "epochs": options.epochs,
        "close_mosaic": round(WITHOUT_MOSAIC * options.epochs),
        "patience": options.epochs,
        "imgsz": options.image_size,
        "batch": options.batch,
        "nbs": options.batch,
        "seed": options.seed,
        "device": "0" if torch.cuda.is_available() else "cpu",
        "workers": min(16, os.cpu_count() or 1),
        "cache": "ram",
        "plots": False,
        "project": str(folder.resolve()),
        "name": weights.stem,
        "exist_ok": True,
    }
    if taken := fixed.keys() & recipe.keys():
        sys.exit(f"{min(taken)} is not part of the recipe; `train.py --help` lists the options that there are instead")
    try:
        trainer = Trainer(overrides={**recipe, **fixed})
    except (SyntaxError, TypeError, ValueError) as error:  # how ultralytics refuses settings
        sys.exit(str(error).strip())
    trainer.train()
    return trainer


def strip(checkpoint: Path, weights: Path, image_size: int) -> None:
    """Writes the detector in `checkpoint` to `weights`, in f16, without what only training needs and without paths."""
    model, _ = load_checkpoint(str(checkpoint))
    model.args = {"task": "detect", "model": ARCHITECTURE, "imgsz": image_size}
    model.criterion = None
    model.pt_path = None
    for parameter in model.parameters():
        parameter.requires_grad = False
    content = {
        # Readers of ultralytics' files may ask for keys without content, too.
        **dict.fromkeys(("best_fitness", "ema", "optimizer", "scaler", "updates")),
        "model": model.half(),
        "train_args": model.args,
        "epoch": -1,
        "date": datetime.date.today().isoformat(),
        "version": version("ultralytics-opencv-headless"),
        "license": "AGPL-3.0",
    }
    torch.save(content, weights)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; of a folder, "" (it has no one content)."""
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measurements(results: Path) -> list[dict[str, float]]:
    """The rows of ultralytics' results.csv with new measurements of the held-out images."""
    with results.open() as file:
        rows = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    measured: list[dict[str, float]] = []
    for row in rows:
        # Other rows repeat the last figures; before the first measurement they are zeros.
        if row["val/box_loss"] and (not measured or row["val/box_loss"] != measured[-1]["val/box_loss"]):
            measured.append(row)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a ZIP archive or a folder")
    parser.add_argument("weights", type=Path, help="the file to write")
    parser.add_argument("recipe", nargs="*", metavar="KEY=VALUE", help="a setting of ultralytics, such as lr0=0.02")
    parser.add_argument("--epochs", type=int, default=247, help="the default is ten minutes' work of an H200")
    parser.add_argument("--image-size", type=int, default=352, help="long side in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=float, default=0.05, help="the part of the images not to train on")
    parser.add_argument("--folder", type=Path, help="where checkpoints stay; else a temporary one")
    options = parser.parse_intermixed_args()
    recipe = {**RECIPE, **dict(_setting(text) for text in options.recipe)}
    if options.weights.suffix != ".pt":
        sys.exit(f"{options.weights} does not end in .pt, as the file of the weights must")
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            options.weights.parent.mkdir(parents=True, exist_ok=True)  # now rather than after hours
            data = split(options.dataset, Path(temporary) / "dataset", options.held_out)
        except (DatasetError, OSError) as error:
            sys.exit(str(error))
        trainer = train(data, options.weights, options.folder or Path(temporary) / "run", options, recipe)
        strip(Path(trainer.best), options.weights, options.image_size)
        measured = measurements(Path(trainer.csv))
    record = _record(options, recipe, data, trainer.ema.updates, time.monotonic() - start, measured)
    options.weights.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"{options.weights}: {options.weights.stat().st_size / 1e6:.1f} MB")


def _record(
    options: argparse.Namespace,
    recipe: dict[str, Any],
    data: Split,
    steps: int,
    seconds: float,
    measured: list[dict[str, float]],
) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "sha256": sha256(options.weights),
        "dataset": {
            "name": options.dataset.name,
            "sha256": sha256(options.dataset),
            "images": data.train,
            "held_out": data.held_out,
            "persons": data.persons,
        },
        "architecture": ARCHITECTURE,
        "epochs": options.epochs,
        "steps": steps,
        "image_size": options.image_size,
        "batch": options.batch,
        "seed": options.seed,
        "recipe": recipe,
        "without_mosaic": WITHOUT_MOSAIC,
        "averaged": AVERAGED,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("ultralytics-opencv-headless", "torch", "numpy")},
        },
        "hardware": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores",
        "seconds": round(seconds),
        "held_out_results": measured,
    }


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        sys.exit(f"{text} is no setting; write it as KEY=VALUE, such as lr0=0.02")
    return key, yaml.safe_load(value)


if __name__ == "__main__":
    main()
