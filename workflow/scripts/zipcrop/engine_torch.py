"""The torch engine: f16 on CUDA; f32 on the CPU, where it serves as a second opinion on the OpenVINO engine."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import torch  # before ultralytics, which would hold torch to one thread per process

from zipcrop import imports, weights
from zipcrop.model import Model
from zipcrop.persons import Thresholds

imports.restrict_ultralytics()

from ultralytics.utils.nms import non_max_suppression  # noqa: E402 - only after it is restricted


class TorchEngine:
    """PyTorch, with the weights as they are."""

    def __init__(self, model: Model, device: str, threads: int, batch: int, thresholds: Thresholds) -> None:
        """Loads `model` on `device`, `cuda` or `cpu`; in batches of up to `batch` there, on `threads` cores here."""
        self._device = torch.device(device)
        self._person = model.person
        self._thresholds = thresholds
        on_gpu = self._device.type == "cuda"
        self._type = torch.float16 if on_gpu else torch.float32
        # On the CPU the last digits depend on the batch and on the number of threads, so each image is inferred alone
        # and on one thread; several threads of ours keep the cores busy instead.
        self.batch = batch if on_gpu else 1
        self.concurrency = 1 if on_gpu else threads
        if not on_gpu:
            torch.set_num_threads(1)
        self._module = (
            weights.load(Path(model.weights))
            .fuse(verbose=False)
            .eval()
            .to(self._device, self._type, memory_format=torch.channels_last)
        )
        self._local = threading.local()

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """See `Engine.detect`."""
        images = [batch] if self._device.type == "cuda" else np.split(batch, len(batch))
        return [persons for part in images for persons in self._detect(part)]

    @torch.inference_mode()
    def _detect(self, batch: np.ndarray) -> list[np.ndarray]:
        if not hasattr(self._local, "module"):
            # The head keeps state between calls (the anchors of the last shape): one module per thread.
            self._local.module = copy.deepcopy(self._module) if self.concurrency > 1 else self._module
        pixels = torch.from_numpy(batch).to(self._device).flip(-1).permute(0, 3, 1, 2)
        # The module gives the predictions first. In f32, since pixels beyond 2048 have no exact f16.
        prediction = self._local.module(pixels.to(self._type).div(255))[0].float()
        found = non_max_suppression(
            prediction,
            conf_thres=self._thresholds.floor,
            iou_thres=self._thresholds.iou,
            classes=[self._person],
            agnostic=True,  # there is but one class, and boxes need no offset to keep it apart
            max_det=self._thresholds.max_detections,
            # Past its time limit it would give the rest of the batch back as empty.
            max_time_img=1e9,
        )
        return [persons[:, :5].cpu().numpy() for persons in found]
