"""Pretended GPUs: a driver that knows them, and engine processes whose network needs none."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil

import pretended_gpu
from helpers.environment import patched_everywhere
from zipcrop.process import gpu

FORMULA = """
import numpy as np
import time

class Network:
    # Finds something in every photo, by its pixels alone.
    batch = 16

    def start(self, photos):
        assert len({photo.shape for photo in photos}) == 1 and len(photos) <= self.batch
        return [self.predict(photo) for photo in photos]

    def predict(self, photo):
        height, width = photo.shape[:2]
        score = int(photo.sum()) % 10 / 10
        return [[width / 2, 9], [height / 2, 9], [width / 3, 4], [height / 4, 4], [score, score / 2]]

    def finish(self, batch):
        return np.array(batch, np.float32)

def patch(server):
    server.load_network = lambda spec: Network()
"""
"""A patch of `zipcrop.detect.server`: a network that loads and answers at once."""
ON_THE_CPU = """
def patch(network):
    from zipcrop.detect import cuda

    network.torch.set_num_threads(1)

    def load(model, image_size, batch):
        detector = network.Detector(model, network.torch.device("cpu"), network.torch.float32)
        return network.Network(detector, image_size, batch, cuda.CPU())

    network.load = load
"""
"""A patch of `zipcrop.detect.network`: the model's own network, on the CPU."""


class PretendedGPUs:
    """GPUs for the processes of a test, which are those in `environment`."""

    def __init__(
        self,
        folder: Path,
        count: int = 1,
        server: str = FORMULA,
        others: Mapping[str, str] | None = None,
        torch: bool = False,
    ) -> None:
        """`count` GPUs; `server` is the patch of `zipcrop.detect.server`, and `others` has patches of other modules.
        Unless with `torch`, no process can import it."""
        # Leases hold for the whole machine: with the same GPUs, tests that run at once would share them.
        self.uuids = [f"GPU-{number}-{uuid.uuid4()}" for number in range(count)]
        self.folder = folder
        self.environment = patched_everywhere(folder, "zipcrop.detect.server", server, others or {})
        pretended_gpu.write_driver(folder, self.uuids)
        if not torch:
            (folder / "torch.py").write_text('raise ImportError("only an engine process may import torch")\n')

    def engines(self) -> list[psutil.Process]:
        """The engine processes of these GPUs, by GPU."""
        found = {}
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            if len(words) == 3 and words[1].endswith("serve_engine.py"):
                found.update({name: process for name in self.uuids if name in words[2]})
        return [found[name] for name in self.uuids if name in found]

    def leases(self) -> list[Path]:
        """The files of these GPUs' leases that are held, and sockets."""
        return [
            path
            for name in self.uuids
            for path in gpu.LEASES.glob(f"{name}.*")
            if path.suffix == ".socket" or gpu._holder(path)
        ]

    def are_free(self, seconds: float = 5.0) -> bool:
        """Whether no engine process and no lease is left, at the latest after some seconds."""
        until = time.monotonic() + seconds
        while self.engines() or self.leases():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def remove(self) -> None:
        """Ends what is left."""
        for process in self.engines():
            process.kill()
        for name in self.uuids:
            for path in gpu.LEASES.glob(f"{name}.*"):
                path.unlink(missing_ok=True)
