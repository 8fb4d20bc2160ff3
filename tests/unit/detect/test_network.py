"""The detector in PyTorch against ultralytics', and how a GPU is given batches, with a CPU in place of the GPU."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from helpers.graphs import Freed, Graphs
from helpers.photos import letterboxed, photo
from helpers.project import WEIGHTS
from zipcrop.detect import network, weights
from zipcrop.detect.cuda import CPU, Hardware
from zipcrop.detect.model import Model
from zipcrop.detect.network import Batch, Network
from zipcrop.detect.pytorch import Detector
from zipcrop.errors import MachineError, ModelError, OutOfGPUMemory

DEVICE = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of torch's own wait for each other by spinning, for minutes where other tests run beside them."""
    torch.set_num_threads(1)


@functools.cache
def photos() -> list[np.ndarray]:
    """Letterboxed photos of several shapes; the first two have the same."""
    bus, zidane = photo("bus"), photo("zidane")
    images = [bus, bus[:, ::-1].copy(), zidane, bus[400:900, :700].copy(), cv2.resize(bus, (333, 500)), photo("empty")]
    return [letterboxed(image) for image in images]


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image[np.newaxis])


def detector_of(model_json: Path, kind: torch.dtype = torch.float32) -> Detector:
    return Detector(Model.read(model_json), DEVICE, kind)


def detect(detector: Detector, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        (prediction,) = detector(tensor(image)).numpy()
    assert prediction.dtype == np.float32
    return np.asarray(prediction)


def ultralytics(path: Path, image: np.ndarray, kind: torch.dtype = torch.float32) -> np.ndarray:
    """What ultralytics' head makes of a letterboxed photo, in f32: (4 + classes, anchors)."""
    module = weights.load(path).fuse(verbose=False).eval().to(memory_format=torch.channels_last).to(kind)
    pixels = tensor(image).flip(-1).permute(0, 3, 1, 2).to(kind).div(255)
    with torch.inference_mode():
        return np.asarray(module(pixels)[0][0].float().numpy())


# -- Detector -----------------------------------------------------------------------------------------------------


def test_the_detector_decodes_as_ultralytics_does(model_json: Path) -> None:
    detector = detector_of(model_json)
    for image in photos():
        found = detect(detector, image)
        assert detector.prepare(*image.shape[:2]) == found.shape[1]
        np.testing.assert_array_equal(found, ultralytics(WEIGHTS, image))


def three_classes(model_json: Path, folder: Path, person: int, two_heads: bool = False) -> Model:
    """Weights for three classes. The last two have equal scores, and the first one has others."""
    checkpoint = torch.load(WEIGHTS, weights_only=False, map_location="cpu")
    module = checkpoint["ema"] or checkpoint["model"]
    head = module.model[-1]
    for branch in head.cv3:
        one, more = branch[-1], torch.nn.Conv2d(branch[-1].in_channels, 3, 1)
        more.to(one.weight.dtype)
        more.weight.data[:] = one.weight.data
        more.bias.data[:] = one.bias.data
        more.weight.data[0] = one.weight.data.flip(1)
        branch[-1] = more
    head.nc, head.no = 3, 3 + 4 * head.reg_max
    module.names = {number: "person" if number == person else f"other {number}" for number in range(3)}
    module.nc = 3
    if two_heads:
        head.one2one_cv2, head.one2one_cv3 = copy.deepcopy(head.cv2), copy.deepcopy(head.cv3)
    torch.save(checkpoint, folder / "three.pt")
    return dataclasses.replace(Model.read(model_json), weights=str(folder / "three.pt"), person=person)


@pytest.mark.parametrize("person", [0, 1, 2])
def test_person_counts_where_it_is_the_best_class_and_of_equal_ones_the_first(
    person: int, model_json: Path, tmp_path: Path
) -> None:
    model = three_classes(model_json, tmp_path, person)
    image = photos()[0]
    wanted = ultralytics(Path(model.weights), image)
    scores = wanted[4:]
    equal = scores[1] == scores[2]
    assert equal.mean() > 0.9  # the last digit may differ at the end of a vector
    is_best = scores.argmax(0) == person
    assert is_best[equal].any() == (person != 2)
    assert not is_best.all()
    found = detect(Detector(model, DEVICE, torch.float32), image)
    np.testing.assert_array_equal(found[:4], wanted[:4])
    np.testing.assert_array_equal(found[4], np.where(is_best, scores[person], 0))


def test_of_two_heads_the_one_in_use_is_read(model_json: Path, tmp_path: Path) -> None:
    """Weights of YOLO26 have a second one, to do without NMS, which can be turned off."""
    model = three_classes(model_json, tmp_path, 0, two_heads=True)
    wanted = ultralytics(Path(model.weights), photos()[0])
    found = detect(Detector(model, DEVICE, torch.float32), photos()[0])
    np.testing.assert_array_equal(found[:4], wanted[:4])


def test_boxes_of_an_f16_network_are_not_rounded_to_f16(model_json: Path) -> None:
    image = letterboxed(photo("bus"), 1280)
    wanted, rounded = ultralytics(WEIGHTS, image), ultralytics(WEIGHTS, image, torch.float16)
    found = detect(detector_of(model_json, torch.float16), image)
    sure = wanted[4] > 0.25
    assert sure.any()
    error = [np.abs(prediction[:4, sure] - wanted[:4, sure]).mean() for prediction in (found, rounded)]
    assert error[0] < error[1]
    assert np.abs(found[4] - wanted[4]).max() < 0.02


def test_other_rectangles_in_between_change_nothing(model_json: Path) -> None:
    detector = detector_of(model_json)
    first = [detect(detector, image) for image in photos()]
    for image, before in reversed(list(zip(photos(), first, strict=True))):
        np.testing.assert_array_equal(detect(detector, image), before)


def test_a_photo_on_the_cpu_is_the_same_in_a_batch_and_alone(model_json: Path) -> None:
    detector = detector_of(model_json)
    with torch.inference_mode():
        batch = detector(torch.from_numpy(np.stack([photos()[1], photos()[0], photos()[0]]))).numpy()
    for found, image in zip(batch, (photos()[1], photos()[0], photos()[0]), strict=True):
        np.testing.assert_array_equal(found, detect(detector, image))


def test_weights_that_are_damaged_are_named(model_json: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"bad\.pt cannot be loaded"):
        Detector(dataclasses.replace(Model.read(model_json), weights=str(tmp_path / "bad.pt")), DEVICE, torch.float32)


# -- Network ------------------------------------------------------------------------------------------------------


class Cells:
    """Stands for a detector: an anchor for each cell of 8 by 8 pixels, whose numbers are the sum of its greatest
    colours and, as a box depends on its anchor, a number of its own."""

    device = DEVICE

    def __init__(self, hardware: Graphs | None = None, room: int = 1000, error: Exception | None = None) -> None:
        """Batches larger than `room` raise `error`."""
        self.hardware = hardware
        self.room = room
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        self.batches: list[int] = []
        self._anchors: dict[tuple[int, int], torch.Tensor] = {}

    def prepare(self, height: int, width: int) -> int:
        cells = height // 8 * width // 8
        if (height, width) not in self._anchors:
            self._anchors[height, width] = torch.arange(cells, dtype=torch.float32) / 4 + height
        return cells

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        count, height, width = pixels.shape[:3]
        if self.hardware and not self.hardware.is_capturing:
            self.hardware.log.append("eager")
        self.batches.append(count)
        if count > self.room:
            raise self.error
        cells = pixels.view(count, height // 8, 8, width // 8, 8, 3).float().amax((2, 4)).sum(-1)
        numbers = cells.view(count, 1, -1) + self._anchors[height, width]
        return numbers * torch.arange(1, 6).view(1, 5, 1)


def noise(seed: int, shape: tuple[int, int] = (32, 64)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def cells_of(image: np.ndarray) -> np.ndarray:
    """What Cells says of a photo, by itself."""
    detector = Cells()
    detector.prepare(*image.shape[:2])
    return np.asarray(detector(tensor(image))[0].numpy())


def infer(loaded: Network, images: list[np.ndarray]) -> list[np.ndarray]:
    """The predictions for photos of one shape, which are given again in smaller batches where memory is short."""
    found: list[np.ndarray] = []
    while len(found) < len(images):
        part = images[len(found) :][: loaded.batch]
        try:
            batch = loaded.start(part)
        except OutOfGPUMemory:
            continue
        predictions = loaded.finish(batch)
        assert len(predictions) == len(part)
        found += list(predictions.copy())
    return found


def assert_right(loaded: Network, images: list[np.ndarray]) -> None:
    for found, image in zip(infer(loaded, images), images, strict=True):
        np.testing.assert_array_equal(found, cells_of(image))


def test_a_rectangle_is_inferred_without_a_graph_then_captured_then_replayed() -> None:
    graphs = Graphs()
    loaded = Network(Cells(graphs), 64, 4, graphs)
    for seed in range(4):
        assert_right(loaded, [noise(seed)])
    assert graphs.log == ["eager", "capture", "replay", "replay", "replay"]
    graphs.log.clear()
    for seed in range(3):
        assert_right(loaded, [noise(seed, (64, 32)), noise(seed + 9, (64, 32))])
        assert_right(loaded, [noise(seed)])
    assert graphs.log == ["eager", "replay", "capture", "replay", "replay", "replay", "replay"]


def test_hardware_without_graphs_infers_each_batch_anew_and_no_more_than_it_has() -> None:
    detector = Cells()
    loaded = Network(detector, 64, 4, CPU())
    for count in (1, 3, 4, 2):
        assert_right(loaded, [noise(seed) for seed in range(count)])
    assert detector.batches == [1, 3, 4, 2]


def test_graphs_of_the_detector_are_right_after_other_rectangles(model_json: Path) -> None:
    """A graph reads the anchors of its rectangle where they were when it was captured."""
    graphs = Graphs()
    detector = detector_of(model_json)
    loaded = Network(detector, 320, 2, graphs)
    small = [image[:64, :96].copy() for image in photos()[:2]]
    others = [photos()[0][:height, :width].copy() for height, width in ((96, 64), (64, 64), (32, 96))]
    wanted = [detect(detector, image) for image in small]
    for _ in range(3):
        for found, expected in zip(infer(loaded, small), wanted, strict=True):
            np.testing.assert_array_equal(found, expected)
        for other in others:
            np.testing.assert_array_equal(infer(loaded, [other])[0], detect(detector, other))
    assert graphs.log.count("capture") == 4
    assert graphs.log.count("replay") == 8


def test_the_stand_in_for_graphs_notices_anchors_that_are_gone() -> None:
    """Else the test above could not fail."""

    class Forgetful(Cells):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            prediction = super().__call__(pixels)
            self._anchors.clear()
            return prediction

    loaded = Network(Forgetful(), 64, 1, Graphs())
    assert_right(loaded, [noise(0)])
    with pytest.raises(Freed):
        infer(loaded, [noise(0)])


@pytest.mark.parametrize("place", range(4))
def test_a_photo_is_the_same_alone_in_a_full_batch_and_at_each_place(place: int) -> None:
    graphs = Graphs()
    detector = Cells(graphs)
    loaded = Network(detector, 64, 4, graphs)
    wanted = cells_of(noise(100))
    for _ in range(3):
        full = [noise(seed) for seed in range(4)]
        full[place] = noise(100)
        np.testing.assert_array_equal(infer(loaded, full)[place], wanted)
        np.testing.assert_array_equal(infer(loaded, [noise(100)])[0], wanted)
    assert set(detector.batches) == {4}


def test_the_tail_of_a_batch_keeps_old_pixels_and_nobody_gets_their_prediction() -> None:
    seen = []

    class Watched(Cells):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            seen.append(pixels.clone().numpy())
            return super().__call__(pixels)

    hardware = Graphs()
    hardware.can_capture = False
    loaded = Network(Watched(), 64, 3, hardware)
    old = [noise(seed) for seed in range(3)]
    assert_right(loaded, old)
    (found,) = infer(loaded, [noise(9)])
    np.testing.assert_array_equal(found, cells_of(noise(9)))
    np.testing.assert_array_equal(seen[-1], [noise(9), *old[1:]])


def test_a_batch_stays_until_the_next_but_one_is_started() -> None:
    loaded = Network(Cells(), 64, 2, Graphs())
    batches: list[tuple[Batch, int]] = []
    for seed in range(6):
        batches.append((loaded.start([noise(seed)]), seed))
        if seed:
            batch, earlier = batches[-2]
            np.testing.assert_array_equal(loaded.finish(batch)[0], cells_of(noise(earlier)))


def test_a_batch_is_no_larger_than_memory_for_pixels_allows() -> None:
    assert Network(Cells(), 8192, 16, CPU()).batch == 2
    assert Network(Cells(), 64, 16, CPU()).batch == 16


# -- Shortages of memory ------------------------------------------------------------------------------------------

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=str)
def test_out_of_memory_the_same_photos_are_inferred_in_smaller_batches(error: Exception) -> None:
    detector = Cells(room=3, error=error)
    loaded = Network(detector, 64, 16, Graphs())
    assert_right(loaded, [noise(seed) for seed in range(13)])
    assert loaded.batch == 2
    assert detector.batches[:4] == [16, 8, 4, 2]
    assert set(detector.batches[4:]) == {2}


@pytest.mark.parametrize("error", SHORTAGES, ids=str)
def test_no_memory_for_one_photo_is_a_fault_of_the_machine(error: Exception) -> None:
    detector = Cells(room=0, error=error)
    loaded = Network(detector, 64, 4, Graphs())
    with pytest.raises(MachineError) as raised:
        infer(loaded, [noise(0)])
    assert str(raised.value) == network.NO_GPU_MEMORY
    assert "the GPU has no memory left, even for a single photo; end other programs" in network.NO_GPU_MEMORY
    assert detector.batches == [4, 2, 1]


def test_other_errors_are_no_shortage() -> None:
    loaded = Network(Cells(room=0, error=RuntimeError("CUDA error: an illegal memory access")), 64, 4, Graphs())
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        loaded.start([noise(0)])
    assert loaded.batch == 4


def test_memory_for_the_batches_themselves_may_be_short() -> None:
    class Narrow(Graphs):
        def host(self, size: int, kind: torch.dtype) -> torch.Tensor:
            if size > 2 * 64 * 64 * 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().host(size, kind)

    loaded = Network(Cells(), 64, 16, Narrow())
    assert_right(loaded, [noise(seed) for seed in range(5)])
    assert loaded.batch == 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the network takes for the time, in `now`."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(network, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_after_a_calm_minute_batches_grow_again_up_to_what_was_asked_for(clock: SimpleNamespace) -> None:
    detector = Cells(room=2)
    loaded = Network(detector, 64, 6, Graphs())
    assert_right(loaded, [noise(0)])
    assert loaded.batch == 1
    detector.room = 1000
    clock.now += 59
    assert_right(loaded, [noise(0)])
    assert loaded.batch == 1
    clock.now += 2
    grown = []
    for seed in range(5):
        assert_right(loaded, [noise(seed)])
        grown.append(loaded.batch)
    assert grown == [6, 6, 6, 6, 6]


def test_where_memory_is_still_short_a_try_costs_one_batch_and_comes_less_and_less_often(
    clock: SimpleNamespace,
) -> None:
    detector = Cells(room=2)
    loaded = Network(detector, 64, 4, Graphs())
    tries = []
    for _ in range(9):
        detector.batches.clear()
        for seed in range(5):
            assert_right(loaded, [noise(seed)])
        assert loaded.batch == 2
        tries.append(detector.batches.count(4))
        clock.now += 61
    assert tries == [1, 1, 0, 1, 0, 0, 0, 1, 0]


def test_a_batch_in_flight_survives_a_smaller_and_a_larger_batch(clock: SimpleNamespace) -> None:
    detector = Cells()
    loaded = Network(detector, 64, 4, Graphs())
    first = loaded.start([noise(1), noise(2)])
    detector.room = 2
    with pytest.raises(OutOfGPUMemory):
        loaded.start([noise(3, (64, 32))])
    second = loaded.start([noise(3, (64, 32))])
    for found, seed in zip(loaded.finish(first), (1, 2), strict=True):
        np.testing.assert_array_equal(found, cells_of(noise(seed)))
    detector.room = 4
    clock.now += 61
    third = loaded.start([noise(4)])
    assert loaded.batch == 4
    np.testing.assert_array_equal(loaded.finish(second)[0], cells_of(noise(3, (64, 32))))
    np.testing.assert_array_equal(loaded.finish(third)[0], cells_of(noise(4)))


def test_all_graphs_are_dropped_when_memory_is_short(clock: SimpleNamespace) -> None:
    graphs = Graphs()
    detector = Cells(graphs)
    loaded = Network(detector, 64, 4, graphs)
    for _ in range(2):
        assert_right(loaded, [noise(0)])
        assert_right(loaded, [noise(0, (64, 32))])
    detector.room = 2
    graphs.log.clear()
    assert_right(loaded, [noise(0, (32, 32))])  # a new rectangle, for which there is no room
    assert graphs.log == ["eager", "clear", "eager"]
    graphs.log.clear()
    for _ in range(3):
        assert_right(loaded, [noise(0)])
    assert graphs.log == ["eager", "capture", "replay", "replay"]


def test_where_a_capture_fails_there_are_no_graphs_any_more_and_photos_are_inferred_all_the_same() -> None:
    graphs = Graphs()
    loaded = Network(Cells(graphs), 64, 4, graphs)
    for _ in range(2):
        assert_right(loaded, [noise(0)])
    graphs.can_capture = False
    graphs.log.clear()
    for seed in range(2):
        assert_right(loaded, [noise(seed, (64, 32))])
    assert graphs.log == ["eager", "capture", "clear", "eager"]
    graphs.can_capture = True
    graphs.log.clear()
    for seed in range(3):
        assert_right(loaded, [noise(seed)])
        assert_right(loaded, [noise(seed, (64, 32))])
    assert graphs.log == ["eager"] * 6
    assert loaded.batch == 4


def test_where_memory_is_short_for_a_graph_batches_are_smaller_and_have_graphs(clock: SimpleNamespace) -> None:
    graphs = Graphs()
    detector = Cells(graphs)
    loaded = Network(detector, 64, 4, graphs)
    assert_right(loaded, [noise(0)])
    detector.room = 2  # by now
    graphs.log.clear()
    for seed in range(3):
        assert_right(loaded, [noise(seed)])
    assert [entry for entry in graphs.log if entry != "clear"] == ["capture", "eager", "capture", "replay", "replay"]
    detector.room = 4
    clock.now += 61
    assert_right(loaded, [noise(1)])
    assert loaded.batch == 4


def test_a_shortage_in_a_capture_is_seen_behind_the_failure_to_end_that(capsys: pytest.CaptureFixture[str]) -> None:
    class Invalidated(Graphs):
        def capture(self, work: Callable[[], None]) -> Callable[[], None]:  # type: ignore[override]
            try:
                return super().capture(work)
            except RuntimeError:
                raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 - as torch does

    graphs = Invalidated()
    detector = Cells(graphs)
    loaded = Network(detector, 64, 4, graphs)
    assert_right(loaded, [noise(0)])
    detector.room = 2
    assert_right(loaded, [noise(1)])
    assert loaded.batch == 2
    for seed in range(2):
        assert_right(loaded, [noise(seed)])
    assert graphs.log[-1] == "replay"
    graphs.can_capture = False
    for seed in range(2):
        assert_right(loaded, [noise(seed, (64, 32))])
    assert capsys.readouterr().out.startswith("there are no more CUDA graphs: operation failed")


HIDDEN = RuntimeError("GET was unable to find an engine to execute this computation")


def test_what_cudnn_hides_is_a_shortage_once_the_gpu_has_worked() -> None:
    detector = Cells(room=2, error=HIDDEN)
    with pytest.raises(RuntimeError, match="unable to find an engine"):
        infer(Network(detector, 64, 4, Graphs()), [noise(0)])
    loaded = Network(detector, 64, 4, Graphs())
    detector.room = 4
    assert_right(loaded, [noise(0)])
    detector.room = 2
    assert_right(loaded, [noise(seed, (64, 32)) for seed in range(4)])
    assert loaded.batch == 2


def test_what_cudnn_hides_is_a_shortage_on_a_gpu_that_is_full_by_then() -> None:
    class Full(Graphs):
        def is_full(self) -> bool:
            return bool(detector.batches)

    detector = Cells(room=2, error=HIDDEN)
    loaded = Network(detector, 64, 4, Full())
    assert_right(loaded, [noise(0)])
    assert loaded.batch == 2


def test_what_runs_short_of_memory_within_the_network_is_decoded_in_f32_at_the_next_try(model_json: Path) -> None:
    """Boxes were once decoded in f16 after that, without a word."""
    image = photos()[0][:96, :96].copy()
    wanted = detect(detector_of(model_json, torch.float16), image)
    tried = []

    def forward(module: object, arguments: object) -> None:
        tried.append(1)
        if len(tried) <= 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    detector = detector_of(model_json, torch.float16)
    detector._module.model[-1].register_forward_pre_hook(forward)
    loaded = Network(detector, 320, 4, CPU())
    (found,) = infer(loaded, [image])
    assert len(tried) == 3
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("image_size", "side"), [(32, 32), (64, 64), (640, 64)])
def test_trying_out_takes_a_small_photo_and_smaller_batches_where_memory_is_short(image_size: int, side: int) -> None:
    shapes = []

    class Watched(Cells):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(pixels.shape))
            return super().__call__(pixels)

    loaded = Network(Watched(room=3), image_size, 4, Graphs())
    network.try_out(loaded, stride=32)
    assert shapes == [(4, side, side, 3), (2, side, side, 3)]


@pytest.mark.parametrize("make", [CPU, Graphs])
def test_the_network_of_a_detector_gives_what_the_detector_does(make: Callable[[], Hardware], model_json: Path) -> None:
    detector = detector_of(model_json)
    loaded = Network(detector, 320, 2, make())
    for image in photos():
        np.testing.assert_array_equal(infer(loaded, [image])[0], detect(detector, image))


def test_a_gpu_without_memory_for_the_network_is_told_in_words(
    model_json: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Hardware:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(network, "CUDA", full)
    with pytest.raises(MachineError, match="the GPU has no memory left"):
        network.load(Model.read(model_json), 320, 4)
