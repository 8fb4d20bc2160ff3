"""A GPU that is pretended for child processes: a driver that lists it, and a network that stands in for the one on it.

Python imports a module called `sitecustomize` by itself, and modules called `pynvml` are found in the first folder that
has one. So both are written into a folder that comes first in the children's PYTHONPATH. The product has no hook: in
the engine process, the module `zipcrop.detect.server` gets another `load_network` once it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from types import ModuleType

    from zipcrop.detect.lease import Spec
    from zipcrop.detect.server import Network

Kind = Literal["null", "cpu"]
"""The network: one that answers at once, or the real one on the CPU."""
_STRIDES = (8, 16, 32)
_DRIVER = """
class NVMLError(Exception):
    pass

nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: len(UUIDS)
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetUUID = lambda index: UUIDS[index]
"""
_PATCH = """
import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "zipcrop.detect.server":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            sys.path.append({folder!r})
            import pretended_gpu
            pretended_gpu.patch(module, {kind!r}, {people!r})

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def write_driver(folder: Path, uuids: Sequence[str]) -> dict[str, str]:
    """Writes a driver into `folder` that lists GPUs called `uuids`; gives the variables by which children find it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pynvml.py").write_text(f"UUIDS = {list(uuids)}\n{_DRIVER}")
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{before}" if before else str(folder)}


def environment(folder: Path, kind: Kind, people: float = 0.0) -> dict[str, str]:
    """The variables of children that see one GPU, whose engine process infers with the network `kind`. `folder`, new,
    holds what makes this happen. With `null`, the share `people` of the photos has a person."""
    # Leases hold for the whole machine: nobody else's GPU has that name.
    variables = write_driver(folder, [f"GPU-pretended-{os.getpid()}-{os.urandom(4).hex()}"])
    beside = str(Path(__file__).resolve().parent)
    (folder / "sitecustomize.py").write_text(_PATCH.format(folder=beside, kind=kind, people=people))
    # It would hide the GPU.
    return {**variables, "CUDA_VISIBLE_DEVICES": "0"}


def patch(server: ModuleType, kind: Kind, people: float) -> None:
    """Has the engine process, whose module `server` this is, load the network `kind`."""

    def load(spec: Spec) -> Network:
        return NullNetwork(spec.batch, people) if kind == "null" else _cpu_network(spec)

    server.load_network = load  # type: ignore[attr-defined]


class NullNetwork:
    """Answers at once, and needs no torch. Which photos have a person follows from their pixels."""

    def __init__(self, batch: int, people: float) -> None:
        self.batch = batch
        self._people = people
        self._nobody: dict[tuple[int, int], np.ndarray] = {}

    def start(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """See `network.Network.start`; gives the predictions."""
        height, width = photos[0].shape[:2]
        nobody = self._nobody.setdefault((height, width), _nobody(height, width))
        if self._people == 0:
            return np.broadcast_to(nobody, (len(photos), *nobody.shape))
        predictions = np.repeat(nobody[np.newaxis], len(photos), axis=0)
        for prediction, photo in zip(predictions, photos, strict=True):
            if int(photo[::16, ::16].sum()) % 1000 < 1000 * self._people:
                prediction[:, 0] = width / 2, height / 2, width / 4, height / 2, 0.9
        return predictions

    def finish(self, batch: np.ndarray) -> np.ndarray:
        """See `network.Network.finish`."""
        return batch


def _nobody(height: int, width: int) -> np.ndarray:
    """The prediction, float32 (5, anchors), for a photo without people."""
    return np.zeros((5, sum((height // stride) * (width // stride) for stride in _STRIDES)), np.float32)


def _cpu_network(spec: Spec) -> Network:
    import torch

    from zipcrop.detect import cuda, network, pytorch
    from zipcrop.detect.model import Model

    model = Model.read(spec.model)
    detector = pytorch.Detector(model, torch.device("cpu"), torch.float32)
    loaded = network.Network(detector, spec.image_size, spec.batch, cuda.CPU())
    network.try_out(loaded, model.stride)
    return loaded
