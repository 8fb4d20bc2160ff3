"""yolov8s with random weights, where the official ones are not at hand: the arithmetic is the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_CONFIDENCE = 0.25
_NORMALISED = 16
"""Number of photos that the batch normalisations see."""
_SHARE = 0.25
"""Share of the photos that "people" are found in. Many anchors find the same ones, so that there are about as many
crops as in real photos."""
_SPREAD = 1.0
"""Standard deviation of the person's logit over all anchors."""


def write(path: Path, photos: Iterable[np.ndarray], image_size: int) -> float:
    """Writes yolov8s weights to `path` that find "people" in a quarter of `photos`, uint8 (H, W, 3) BGR.

    Purely random weights would find nobody, which would flatter slow writers of crops, and `decode: fast`. So the batch
    normalisations get the statistics of the photos, without which the signal fades to nothing on its way to the head,
    and the person class gets a bias with which the best anchors of a few photos pass. Gives the share of the photos
    with people.
    """
    import torch
    from ultralytics import YOLO

    from bare_engine import letterboxed

    torch.manual_seed(0)
    yolo = YOLO("yolov8s.yaml")
    yolo.model.names = {0: "person", **{index: f"class {index}" for index in range(1, 80)}}
    head = yolo.model.eval().model[-1]
    inputs = []
    for photo in photos:
        pixels = letterboxed(photo, image_size, 32)[:, :, ::-1].transpose(2, 0, 1)[np.newaxis]
        inputs.append(torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255)

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
            branch[-1].weight[1:] = 0  # no other class ever beats the person where the signal is strong
            branch[-1].bias[1:] = -12
            branch[-1].bias[0] = 0
        spread = np.concatenate(_person_logits(yolo.model, inputs)).std()
        for branch in head.cv3:
            branch[-1].weight[0] *= _SPREAD / spread
        best = [logits.max() for logits in _person_logits(yolo.model, inputs)]
        threshold = np.log(_CONFIDENCE / (1 - _CONFIDENCE))
        shift = float(threshold - np.quantile(best, 1 - _SHARE))
        for branch in head.cv3:
            branch[-1].bias[0] += shift
    yolo.save(path)
    return float((np.array(best) + shift > threshold).mean())


def _person_logits(model: torch.nn.Module, inputs: list[torch.Tensor]) -> list[np.ndarray]:
    """The person's logit at each anchor, by image. Scores near 0 or 1 have lost it, so they are no source."""
    caught: list[np.ndarray] = []
    hooks = [
        branch[-1].register_forward_hook(lambda module, given, result: caught.append(result[0, 0].flatten().numpy()))
        for branch in model.model[-1].cv3
    ]
    logits = []
    for pixels in inputs:
        model(pixels)
        logits.append(np.concatenate(caught))
        caught.clear()
    for hook in hooks:
        hook.remove()
    return logits
