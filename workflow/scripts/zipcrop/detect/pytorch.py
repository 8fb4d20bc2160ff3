"""The torch engine: f16 on CUDA; f32 on the CPU, where it serves as a second opinion on the OpenVINO engine."""

from __future__ import annotations

import contextlib
import copy
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch  # before ultralytics, which would hold torch to one thread per process
import torchvision  # noqa: F401 - ultralytics' NMS uses torchvision's only where it is imported

from zipcrop.detect import restrict, weights
from zipcrop.errors import MachineError

restrict.restrict_ultralytics()

from ultralytics.utils.nms import non_max_suppression  # noqa: E402 - only after it is restricted

if TYPE_CHECKING:
    from zipcrop.detect.model import Model
    from zipcrop.settings import Thresholds

_NO_GPU_MEMORY = (
    "the GPU has no memory left, even for a single photo; end other programs that use it, or lower image_size, or set "
    "device to cpu, and run again"
)


class TorchEngine:
    """PyTorch, with the weights as they are."""

    def __init__(self, model: Model, device: str, threads: int, batch: int, thresholds: Thresholds) -> None:
        """Loads `model` on `device`, `cuda` or `cpu`; in batches of up to `batch` there, on `threads` cores here."""
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._person = model.person
        self._thresholds = thresholds
        self._type = torch.float16 if self._on_gpu else torch.float32
        # On the CPU the last digits depend on the batch and on the number of threads, so each image is inferred alone
        # and on one thread; several threads of ours keep the cores busy instead. On the GPU, one thread uploads its
        # batch while another's is inferred.
        self.batch = batch if self._on_gpu else 1
        self.concurrency = 2 if self._on_gpu else threads
        if not self._on_gpu:
            torch.set_num_threads(1)
        module = weights.load(Path(model.weights)).fuse(verbose=False).eval()
        try:
            self._module = module.to(self._device, self._type, memory_format=torch.channels_last)
        except torch.OutOfMemoryError:
            raise MachineError(_NO_GPU_MEMORY) from None
        if self._on_gpu:
            torch.cuda.synchronize()  # the weights are there before other streams use them
        self._local = threading.local()

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """See `Engine.detect`."""
        if not self._on_gpu:
            images = map(torch.from_numpy, np.split(batch, len(batch)))
            return [persons for image in images for persons in self._detect(image)]
        with contextlib.suppress(torch.OutOfMemoryError):
            return self._detect_on_gpu(batch)
        # Not until the exception is gone, and with it the tensors that its frames hold.
        torch.cuda.empty_cache()
        half = len(batch) // 2
        if not half:
            raise MachineError(_NO_GPU_MEMORY)
        self.batch = min(self.batch, half)
        return self.detect(batch[:half]) + self.detect(batch[half:])

    def _detect_on_gpu(self, batch: np.ndarray) -> list[np.ndarray]:
        with torch.cuda.stream(self._stream()):
            return self._detect(torch.from_numpy(batch).pin_memory().to(self._device, non_blocking=True))

    def _stream(self) -> torch.cuda.Stream:
        if not hasattr(self._local, "stream"):
            self._local.stream = torch.cuda.Stream()
        stream: torch.cuda.Stream = self._local.stream
        return stream

    def _detect(self, batch: torch.Tensor) -> list[np.ndarray]:
        with torch.inference_mode():
            if not hasattr(self._local, "module"):
                # The head keeps state between calls (the anchors of the last shape): one module per thread.
                self._local.module = copy.deepcopy(self._module)
                decode_in_f32(self._local.module)
            pixels = batch.flip(-1).permute(0, 3, 1, 2).to(self._type).div(255)
            found = non_max_suppression(
                self._local.module(pixels)[0],  # the predictions; behind them come feature maps
                conf_thres=self._thresholds.floor,
                iou_thres=self._thresholds.iou,
                classes=[self._person],
                agnostic=True,  # there is but one class, and boxes need no offset to keep it apart
                max_det=self._thresholds.max_detections,
                max_time_img=1e9,  # past its time limit it would give the rest of the batch back as empty
            )
            boxes: list[np.ndarray] = [persons[:, :5].cpu().numpy() for persons in found]
        return boxes


def decode_in_f32(module: torch.nn.Module) -> None:
    """Makes a detector in f16 give its predictions in f32: in f16, the pixels of its boxes would be whole ones from
    1024 on, and halves from 512."""
    head = module.model[-1]
    head.dfl.float()
    decode = head._inference

    def decode_floats(raw: dict[str, torch.Tensor]) -> torch.Tensor:
        return decode({**raw, "boxes": raw["boxes"].float(), "scores": raw["scores"].float()})

    head._inference = decode_floats
