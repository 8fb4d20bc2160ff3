"""The arithmetic of the network's convolutions alone, in f32 and at the speed of matrix multiplication.

A yardstick for the engine: the same operations, without moving data from layer to layer. Only an algorithm with fewer
multiplications, such as Winograd's, would have less to do; OpenVINO's own profile shows none.

usage: multiplications.py MODEL.json IMAGE_SIZE ZIP [ZIP ...]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from photos import decoded
from zipcrop.detect import restrict
from zipcrop.detect.letterbox import Letterbox
from zipcrop.detect.model import Model

restrict.restrict_openvino()

import openvino as ov  # noqa: E402 - only after it is restricted

_SIDE = 2048
"""Side of the matrices: large enough for BLAS to be as fast as it gets."""
_SECONDS = 3.0


def convolution_operations(network: ov.Model, height: int, width: int) -> int:
    """Floating-point operations (a multiplication and an addition are two) in the convolutions of an OpenVINO network
    for one image of `height` x `width` pixels."""
    network.reshape([1, 3, height, width])
    total = 0
    for operation in network.get_ops():
        if operation.get_type_name() == "Convolution":
            # Output (1, C_out, h, w) and kernel (C_out, C_in, kh, kw).
            output, kernel = operation.output(0).shape, operation.input_value(1).shape
            total += 2 * int(np.prod(output)) * int(np.prod(kernel[1:]))
    return total


def matrix_speed() -> float:
    """Operations per second of NumPy's BLAS on all cores, multiplying large f32 matrices for some seconds."""
    left, right = np.random.default_rng(0).random((2, _SIDE, _SIDE), np.float32)
    product = left @ right  # threads start
    count, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < _SECONDS:
        np.matmul(left, right, out=product)
        count += 1
    return 2 * _SIDE**3 * count / seconds


def main() -> None:
    prepared, image_size, *archives = sys.argv[1:]
    model = Model.read(Path(prepared))
    network = ov.Core().read_model(model.openvino)
    shapes = [
        Letterbox.fit(photo.shape[0], photo.shape[1], int(image_size), model.stride).shape
        for path in archives
        for photo in decoded(Path(path))
    ]
    operations = {shape: convolution_operations(network, *shape) for shape in set(shapes)}
    print(sum(operations[shape] for shape in shapes) / matrix_speed())


if __name__ == "__main__":
    main()
