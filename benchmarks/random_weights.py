"""yolov8s with random weights, for where the official ones cannot be had: the same arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

_CONFIDENCE = 0.25
_NORMALISED = 16
"""Photos that the batch normalisations see."""
_SHARE = 0.25
"""Of the photos that "people" are found in: many anchors find the same ones, so that there are about as many crops as
real photos have."""


def write(path: Path, photos: Iterable[np.ndarray], image_size: int) -> float:
    """Writes yolov8s weights to `path` that find "people" in a quarter of `photos`, uint8 (H, W, 3) BGR.

    Purely random weights would find nobody, which would flatter whoever writes crops fast, and `decode: fast`. So the
    batch normalisations get the statistics of the photos, without which the signal fades to nothing on its way to the
    head, and the person class is given a bias by which the best anchors of a few photos pass, and weights by which few
    anchors do. Gives the share of the photos with people.
    """
    import torch
    from ultralytics import YOLO

    from zipcrop.letterbox import Letterbox

    torch.manual_seed(0)
    yolo = YOLO("yolov8s.yaml")
    yolo.model.names = {0: "person", **{index: f"class {index}" for index in range(1, 80)}}
    head = yolo.model.eval().model[-1]
    inputs = []
    for photo in photos:
        letterbox = Letterbox.fit(photo.shape[0], photo.shape[1], image_size, 32)
        pixels = letterbox.apply(photo)[:, :, ::-1].transpose(2, 0, 1)[np.newaxis]
        inputs.append(torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255)

    def best_logits() -> np.ndarray:
        with torch.inference_mode():
            return np.array([float(torch.logit(yolo.model(pixels)[0][0, 4].double()).max()) for pixels in inputs])

    norms = [module for module in yolo.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the photos
    yolo.model.train()
    with torch.no_grad():
        for pixels in inputs[:_NORMALISED]:
            yolo.model(pixels)
    yolo.model.eval()
    with torch.no_grad():
        for branch in head.cv3:
            last = branch[-1]
            last.bias[:] = -12
            last.bias[0] = 0
            last.weight[0] -= last.weight[0].mean()
            last.weight[0] /= last.weight[0].norm()
        shift = float(np.log(_CONFIDENCE / (1 - _CONFIDENCE)) - np.quantile(best_logits(), 1 - _SHARE))
        for branch in head.cv3:
            branch[-1].bias[0] += shift
    yolo.save(path)
    threshold = np.log(_CONFIDENCE / (1 - _CONFIDENCE))
    return float((best_logits() > threshold).mean())
