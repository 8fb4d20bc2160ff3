"""A detector in PyTorch: letterboxed photos in, a dense prediction out. And the engine that uses it on the CPU, as a
second opinion on the OpenVINO engine. On a GPU see `network`.

Neither torchvision nor `torch._dynamo` is imported, which would double the time that torch takes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch  # before ultralytics, which would hold torch to one thread per process

from zipcrop.detect import restrict, weights

restrict.restrict_ultralytics()

from ultralytics.utils.tal import dist2bbox, make_anchors  # noqa: E402 - only after it is restricted

if TYPE_CHECKING:
    import numpy as np

    from zipcrop.detect.model import Model


class Detector:
    """A network without the part that finds persons in its prediction.

    Its head gives the raw output, from which the boxes are decoded here in f32: in f16 their pixels would be whole ones
    from 1024 on, and halves from 512. The decoding keeps no state. The head's own keeps the anchors of the last shape,
    to whose memory a CUDA graph would go on pointing.
    """

    def __init__(self, model: Model, device: torch.device, kind: torch.dtype) -> None:
        """Loads `model` on `device`, to compute in `kind`. Raises ModelError; torch may raise anything."""
        module = weights.load(Path(model.weights)).fuse(verbose=False).eval()
        head = module.model[-1]
        head.training = True  # of the head alone, not of the layers in it: it then gives what it would decode
        self.strides = [int(stride) for stride in head.stride]
        self.device = device
        self._kind = kind
        bins = torch.arange(head.reg_max, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        # As the network's own: the layout decides how a convolution rounds.
        self._bins = bins.to(memory_format=torch.channels_last)
        self._module = module.to(device, kind, memory_format=torch.channels_last)
        self._person = model.person
        self._geometry: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def prepare(self, height: int, width: int) -> int:
        """Computes the anchors of a rectangle if that was not done, which needs the CPU. Gives their number."""
        if (height, width) not in self._geometry:
            sizes = torch.tensor([[height // stride, width // stride] for stride in self.strides], dtype=torch.float32)
            anchors, strides = make_anchors(sizes, torch.tensor(self.strides, dtype=torch.float32), 0.5)
            self._geometry[height, width] = (anchors.T[None].to(self.device), strides.T[None].to(self.device))
        return int(self._geometry[height, width][0].shape[-1])

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """The prediction for `pixels`, uint8 (N, H, W, 3) BGR, on the device: float32 (N, 5, anchors).

        Its rows are x, y (centre), width, height in letterbox pixels, and the score of the class `person`; 0 if another
        class is better, of equal ones the first, as with ultralytics' `classes=[person]`.
        """
        if self.device.type == "cpu" and len(pixels) > 1:
            # There, the last digits depend on the batch.
            return torch.cat([self(photo) for photo in pixels.split(1)])
        height, width = pixels.shape[1:3]
        self.prepare(height, width)
        anchors, strides = self._geometry[height, width]
        raw = self._module(pixels.flip(-1).permute(0, 3, 1, 2).to(self._kind).div(255))
        distances = self._distances(raw["boxes"].float())
        boxes = dist2bbox(distances, anchors, xywh=True, dim=1) * strides
        scores = raw["scores"].float().sigmoid()
        score = scores[:, self._person : self._person + 1]
        for others, is_better in (
            (scores[:, : self._person], torch.ge),
            (scores[:, self._person + 1 :], torch.gt),
        ):
            if others.shape[1]:
                score = score.masked_fill(is_better(others.amax(1, keepdim=True), score), 0.0)
        return torch.cat([boxes, score], 1)

    def _distances(self, raw: torch.Tensor) -> torch.Tensor:
        """From an anchor to the edges of its box, in strides: the mean of a distribution over bins (Distribution Focal
        Loss, https://arxiv.org/abs/2006.04388)."""
        bins = self._bins.shape[1]
        if bins == 1:
            return raw
        count, _, anchors = raw.shape
        shares = raw.view(count, 4, bins, anchors).transpose(2, 1).softmax(1)
        return torch.nn.functional.conv2d(shares, self._bins).view(count, 4, anchors)


class TorchEngine:
    """PyTorch, with the weights as they are.

    The last digits depend on the batch and on the number of threads, so each image is inferred alone and on one thread;
    several threads of ours keep the cores busy instead.
    """

    batch = 1

    def __init__(self, model: Model, threads: int, select: Callable[[np.ndarray], np.ndarray]) -> None:
        """Loads `model`, for `threads` cores. `select` gives the persons in what `Detector` says of one image."""
        self.concurrency = threads
        self._select = select
        torch.set_num_threads(1)
        self._detector = Detector(model, torch.device("cpu"), torch.float32)

    def detect(self, batch: np.ndarray) -> list[np.ndarray]:
        """See `Engine.detect`."""
        with torch.inference_mode():
            return [self._select(each) for each in self._detector(torch.from_numpy(batch)).numpy()]
