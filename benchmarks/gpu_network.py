"""The steps of `gpu_check.py` that drive the network of the engine process itself, by the product's own classes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from bare_engine import letterboxed
from zipcrop.detect import network
from zipcrop.detect.cuda import CPU, CUDA
from zipcrop.detect.model import Model
from zipcrop.detect.network import Network
from zipcrop.detect.pytorch import Detector
from zipcrop.errors import OutOfGPUMemory

if TYPE_CHECKING:
    from gpu_check import Check
    from gpu_results import Result

Shape = tuple[int, int]
_SURE = 0.05
"""The score above which boxes are compared: what the product looks at."""


def load(check: Check, batch: int) -> Network:
    """The product's network for the speed model: on the GPU, or, to rehearse, on the CPU."""
    model = Model.read(check.model)
    if check.plan.on_gpu:
        return network.load(model, check.plan.image_size, batch)
    detector = Detector(model, torch.device("cpu"), torch.float32)
    return Network(detector, check.plan.image_size, batch, CPU())


def infer(loaded: Network, photos: Sequence[np.ndarray]) -> np.ndarray:
    """The prediction for one batch, in memory of its own. Once more, smaller, if the GPU's memory does not suffice."""
    try:
        return loaded.finish(loaded.start(photos)).copy()
    except OutOfGPUMemory:
        raise RuntimeError(f"the GPU has too little memory for a batch of {len(photos)}") from None


def rectangles_of(size: int) -> list[Shape]:
    """The four rectangles (height, width) that are measured: as of photos of 4:3, 16:11, 3:4 and 1:1."""
    three, lower = size * 3 // 4 // 32 * 32, size * 7 // 10 // 32 * 32
    return [(three, size), (lower, size), (size, three), (size, size)]


def others_than(shapes: Sequence[Shape], size: int, count: int) -> list[Shape]:
    """`count` other rectangles with a side of `size`, or as many as there are."""
    sides = range(size - 32, 0, -32)
    return [shape for side in sides for shape in ((side, size), (size, side)) if shape not in shapes][:count]


def rectangles(check: Check, result: Result) -> None:
    """Step 3: what each rectangle costs, and what graphs take of the GPU's memory."""
    size = check.plan.image_size
    shapes = rectangles_of(size)
    for batch in check.plan.batches:
        loaded = load(check, batch)
        infer(loaded, [np.zeros((64, 64, 3), np.uint8)])  # what is done once, for any rectangle, is step 2's
        for shape in shapes:
            photos = check.pixels(shape, batch)
            row = _timed(check, loaded, shape, photos)
            result.figure(f"{batch} x {shape[0]}x{shape[1]}, ms", row)
            if check.plan.on_gpu and batch == 16:
                result.at_most(f"replay of 16 x {shape[0]}x{shape[1]}, ms", row["replay"], 6.0)
        if batch == 16:
            _memory_of_graphs(check, result, loaded, shapes)
        del loaded
        if check.plan.on_gpu:
            torch.cuda.empty_cache()


def _timed(check: Check, loaded: Network, shape: Shape, photos: Sequence[np.ndarray]) -> dict[str, Any]:
    row = {name: round(_seconds(check, lambda: infer(loaded, photos)) * 1e3, 2) for name in ("cold", "capture")}
    for _ in range(2):
        infer(loaded, photos)
    began, pending = time.perf_counter(), None
    for _ in range(check.plan.repeats):  # as the server does it: one batch is gathered while the GPU is at another
        following = loaded.start(photos)
        if pending is not None:
            loaded.finish(pending)
        pending = following
    if pending is not None:
        loaded.finish(pending)
    row["whole batch in a row"] = round((time.perf_counter() - began) / check.plan.repeats * 1e3, 2)
    pixels = torch.from_numpy(np.stack(photos)).to(loaded._detector.device)
    with torch.inference_mode():
        row["eager"] = _each(check, lambda: loaded._detector(pixels))
        replay = loaded._graphs.get(shape)
        if replay is not None:
            row["replay"] = _each(check, replay)
    return row


def _each(check: Check, work: Callable[[], object]) -> float:
    """Milliseconds of `work`, one after the other."""
    work()

    def all_of_it() -> None:
        for _ in range(check.plan.repeats):
            work()

    return round(_seconds(check, all_of_it) / check.plan.repeats * 1e3, 2)


def _seconds(check: Check, work: Callable[[], object]) -> float:
    _synchronize(check)
    began = time.perf_counter()
    work()
    _synchronize(check)
    return time.perf_counter() - began


def _synchronize(check: Check) -> None:
    if check.plan.on_gpu:
        torch.cuda.synchronize()


def _memory_of_graphs(check: Check, result: Result, loaded: Network, shapes: Sequence[Shape]) -> None:
    if not check.plan.on_gpu:
        result.skip("memory after 4 and 16 graphs", "no GPU")
        return
    result.figure("GPU memory after 4 graphs, MB", _gpu_memory())
    before = torch.cuda.memory_reserved()
    for shape in others_than(shapes, check.plan.image_size, 12):
        for _ in range(2):
            infer(loaded, check.pixels(shape, 16))
    result.figure("GPU memory after 16 graphs, MB", _gpu_memory())
    graphs = [graph is not None for graph in loaded._graphs.values()]
    result.check("16 graphs are in use", f"{sum(graphs)} of {len(graphs)}", sum(graphs) >= 16 and loaded._captures)
    result.at_most("memory that 12 more graphs take, MB", (torch.cuda.memory_reserved() - before) / 1e6, 1000)


def _gpu_memory() -> dict[str, int]:
    free, total = torch.cuda.mem_get_info()
    reserved, used = torch.cuda.memory_reserved(), torch.cuda.memory_allocated()
    return {"in all": (total - free) >> 20, "reserved": reserved >> 20, "allocated": used >> 20}


def correctness(check: Check, result: Result) -> None:
    """Step 4: a replay equals the eager forward bit for bit, also after 16 other rectangles; a photo's prediction does
    not depend on its neighbours and its place."""
    size, batch = check.plan.image_size, check.plan.batch
    loaded, eager = load(check, batch), load(check, batch)
    eager._captures = False
    shapes = rectangles_of(size)
    others = others_than(shapes, size, 16)
    inputs = {shape: check.pixels(shape, batch) for shape in [*shapes, *others]}
    expected = {shape: infer(eager, photos) for shape, photos in inputs.items()}
    result.check(
        "predictions are not empty",
        round(float(max(each[:, 4].max() for each in expected.values())), 3),
        all(np.isfinite(each).all() and each[:, :4].std() > 0 for each in expected.values()),
    )
    names = ("first time, without a graph", "second time, captured", "third time, replayed")
    for name in names:
        equal = [np.array_equal(infer(loaded, inputs[shape]), expected[shape]) for shape in shapes]
        result.check(f"{name}: equal to eager, bit for bit", f"{sum(equal)} of {len(equal)}", all(equal))
    for _ in names:
        for shape in others:
            infer(loaded, inputs[shape])
    equal = [np.array_equal(infer(loaded, inputs[shape]), expected[shape]) for shape in shapes]
    result.check(
        f"replayed after {len(others)} others: equal, bit for bit", f"{sum(equal)} of {len(equal)}", all(equal)
    )
    equal = [np.array_equal(infer(loaded, inputs[shape]), expected[shape]) for shape in others]
    result.check("each of the others, replayed: equal, bit for bit", f"{sum(equal)} of {len(equal)}", all(equal))
    _places(result, loaded, inputs[shapes[0]], expected[shapes[0]], "replayed")
    _places(result, eager, inputs[shapes[1]], expected[shapes[1]], "eager")
    _traps(check, result, loaded, len(inputs))


def _places(result: Result, loaded: Network, photos: Sequence[np.ndarray], expected: np.ndarray, how: str) -> None:
    alone = [np.array_equal(infer(loaded, [photo])[0], expected[number]) for number, photo in enumerate(photos)]
    result.check(f"{how}: a photo alone equals it in a full batch", f"{sum(alone)} of {len(alone)}", all(alone))
    turned = []
    for shift in range(len(photos)):
        found = infer(loaded, [*photos[shift:], *photos[:shift]])
        turned.append(np.array_equal(np.roll(found, shift, axis=0), expected))
    result.check(f"{how}: and at each place of it", f"{sum(turned)} of {len(turned)}", all(turned))
    infer(loaded, [255 - photo for photo in photos])  # the tail of the next batch has other pixels
    few = infer(loaded, photos[:3])
    result.check(f"{how}: and before another tail", "", np.array_equal(few, expected[:3]))


def _traps(check: Check, result: Result, loaded: Network, count: int) -> None:
    if not check.plan.on_gpu:
        result.skip("TF32 off, graphs in use, anchors held", "no GPU; on the CPU there are no graphs")
        return
    graphs = sum(graph is not None for graph in loaded._graphs.values())
    result.check("all rectangles have graphs", f"{graphs} of {count}", graphs == count and loaded._captures)
    cudnn = torch.backends.cudnn
    flags = {
        "cudnn.allow_tf32": cudnn.allow_tf32,
        "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.benchmark": cudnn.benchmark,
        "not cudnn.deterministic": not cudnn.deterministic,
    }
    result.check("TF32 and cudnn.benchmark are off, deterministic is on", flags, not any(flags.values()))
    assert isinstance(loaded._detector, Detector)
    held = len(loaded._detector._geometry)
    result.check("anchors are held for each rectangle", held, held >= count)


def tf32(check: Check, result: Result) -> None:
    """Step 5: the boxes of f16 and f32 on the GPU, with TF32 and without, against the CPU in f32."""
    model = Model.read(check.parity_model)
    size = check.plan.parity_size
    boxed = [letterboxed(photo, size, model.stride) for photo in check.photos(check.plan.precision_photos)]
    on_cpu = Detector(model, torch.device("cpu"), torch.float32)
    expected = [_predict(on_cpu, photo) for photo in boxed]
    sure = [prediction[4] > _SURE for prediction in expected]
    result.check("anchors above the floor", int(sum(each.sum() for each in sure)), any(each.any() for each in sure))
    if not check.plan.on_gpu:
        result.skip("f16 and f32 on the GPU, TF32 on and off", "no GPU")
        return
    errors: dict[tuple[str, bool], np.ndarray] = {}
    for kind in (torch.float16, torch.float32):
        CUDA()  # sets what the product sets
        detector = Detector(model, torch.device("cuda"), kind)
        for allowed in (False, True):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
            found = [_predict(detector, photo) for photo in boxed]
            boxes = [abs(one[:4, at] - two[:4, at]).max(0) for one, two, at in zip(found, expected, sure, strict=True)]
            scores = [abs(one[4, at] - two[4, at]) for one, two, at in zip(found, expected, sure, strict=True)]
            name = str(kind).removeprefix("torch.")
            errors[name, allowed] = np.concatenate(boxes)
            figures = {
                "box, median px": round(float(np.median(errors[name, allowed])), 4),
                "box, greatest px": round(float(errors[name, allowed].max()), 4),
                "score, greatest": round(float(np.concatenate(scores).max()), 5),
            }
            result.figure(f"{name}, TF32 {'on' if allowed else 'off'}{_product(name, allowed)}", figures)
    CUDA()
    result.at_most("f32 without TF32: greatest box error, px", float(errors["float32", False].max()), 0.1)
    result.at_most("the product's f16: median box error, px", float(np.median(errors["float16", False])), 0.2)


def _product(kind: str, allowed: bool) -> str:
    return " (as the product has it)" if kind == "float16" and not allowed else ""


def _predict(detector: Detector, photo: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        prediction: np.ndarray = detector(torch.from_numpy(photo[np.newaxis]).to(detector.device))[0].cpu().numpy()
    return prediction


def hog(leave: int) -> None:
    """Holds all of the GPU's memory but `leave` bytes until stdin is closed; says when it does."""
    held = [torch.zeros(1, device="cuda")]
    free, _ = torch.cuda.mem_get_info()
    held.append(torch.empty(max(0, free - leave), dtype=torch.uint8, device="cuda"))
    print(torch.cuda.mem_get_info()[0] >> 20, flush=True)
    sys.stdin.read()


def pixels_of(photos: Sequence[np.ndarray], shape: Shape, count: int) -> list[np.ndarray]:
    """`count` photos, uint8 (H, W, 3) BGR, stretched to `shape`, as pixels that a network may see there."""
    chosen = [photos[number % len(photos)] for number in range(count)]
    return [np.ascontiguousarray(cv2.resize(photo, (shape[1], shape[0]))) for photo in chosen]
