from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.environment import without_network
from helpers.once import once_per_run
from helpers.project import ROOT, SCRIPTS, WEIGHTS
from zipcrop.detect import detector, weights
from zipcrop.detect.model import weights_path
from zipcrop.errors import ModelError

Edit = Callable[[Any], object]


@pytest.fixture
def changed_weights(tmp_path: Path) -> Callable[..., Path]:
    """The bundled weights with attributes of the model changed, or edited by a function."""
    import torch

    def make(edit: Edit = lambda model: None, train_args: object = None, **attributes: Any) -> Path:
        checkpoint = torch.load(WEIGHTS, weights_only=False, map_location="cpu")
        model = checkpoint["ema"] or checkpoint["model"]
        edit(model)
        for name, value in attributes.items():
            setattr(model, name, value)
        if train_args is not None:
            checkpoint["train_args"] = train_args
        torch.save(checkpoint, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    return make


def test_person_may_be_any_class(changed_weights: Callable[..., Path]) -> None:
    assert detector.person_class(["cat", "Person "], Path("x.pt")) == 1
    assert detector.person_class(["0", "1", "2"], Path("x.pt")) == 0
    with pytest.raises(ModelError, match=r"know no class called person \(they know dog\)"):
        weights.load(changed_weights(names={0: "dog"}))


@pytest.mark.parametrize("content", [b"", b"no weights at all", WEIGHTS.read_bytes()[:100_000]])
def test_damaged_weights_are_named_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"best.pt cannot be loaded: the file is damaged") as refused:
        weights.load(tmp_path / "best.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [({"task": "segment"}, "for the task segment; zipcrop needs a detector"), ({"end2end": True}, "head without NMS")],
)
def test_other_models_are_refused(
    changed_weights: Callable[..., Path], attributes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "end2end" in attributes:
        from ultralytics.nn.tasks import DetectionModel

        monkeypatch.setattr(DetectionModel, "end2end", True)
        attributes = {}
    with pytest.raises(ModelError, match=said):
        weights.load(changed_weights(**attributes))


def test_weights_of_rt_detr_are_refused_by_their_class_and_by_their_head(changed_weights: Callable[..., Path]) -> None:
    from ultralytics.nn.modules import RTDETRDecoder
    from ultralytics.nn.tasks import RTDETRDetectionModel

    def with_its_head(model: Any) -> None:
        head = RTDETRDecoder(nc=1, ch=(8, 8, 8), hd=8, nq=4, nh=2, ndl=1)
        head.f, head.i, head.stride = model.model[-1].f, model.model[-1].i, model.model[-1].stride
        model.model[-1] = head

    def with_its_class(model: Any) -> None:
        with_its_head(model)
        model.__class__ = RTDETRDetectionModel

    with pytest.raises(ModelError, match=r"have a head that is not YOLO's \(RTDETRDecoder\), which is not supported"):
        weights.load(changed_weights(with_its_head))
    with pytest.raises(ModelError, match="hold a RTDETRDetectionModel; zipcrop needs a detector"):
        weights.load(changed_weights(with_its_class))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("person", "no proper list of the classes"),
        (None, "no proper list of the classes"),
        ({}, "no proper list of the classes"),
        ({0: 0}, "no proper list of the classes"),
        ({0: None}, "no proper list of the classes"),
        ({1: "person"}, "no proper list of the classes"),
        ({"0": "person"}, "no proper list of the classes"),
        ({0: "person", 2: "dog"}, "no proper list of the classes"),
        ([["person"]], "no proper list of the classes"),
        ({0: "person", 1: "dog"}, "name 2 classes, but tell 1 apart"),
        (dict.fromkeys(range(10**5), "person"), "name 100000 classes, but tell 1 apart"),
        ({0: "\x1b[2Jdog\n" * 1000}, r"they know \[2Jdog\)"),
    ],
)
def test_odd_names_of_classes_are_refused_in_one_sentence(
    changed_weights: Callable[..., Path], names: object, said: str
) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        weights.load(changed_weights(names=names))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


def test_classes_go_by_their_numbers_and_not_by_their_order(changed_weights: Callable[..., Path]) -> None:
    def two_classes(model: Any) -> None:
        model.names = {1: "person", 0: "dog"}
        model.model[-1].nc = 2

    model = weights.load(changed_weights(two_classes))
    assert detector.class_names(model, WEIGHTS) == ["dog", "person"]


def test_two_classes_called_person_are_refused() -> None:
    with pytest.raises(ModelError, match="know 2 classes called person"):
        detector.person_class(["person", "dog", "Person "], Path("x.pt"))


@pytest.mark.parametrize("stride", [0.0, -32.0, float("nan"), float("inf"), 1e300, 32.5, 4096.0, 16.0, "32", None, []])
def test_an_odd_stride_is_refused(changed_weights: Callable[..., Path], stride: object) -> None:
    import torch

    given = torch.tensor([8.0, 16.0, stride], dtype=torch.float64) if isinstance(stride, float) else stride
    with pytest.raises(ModelError, match=r"changed\.pt"):
        weights.load(changed_weights(stride=given))

    def of_the_head(model: Any) -> None:
        model.model[-1].stride = given

    with pytest.raises(ModelError, match=r"changed\.pt"):
        weights.load(changed_weights(of_the_head))


def hook(model: Any) -> None:
    import torch

    model.model[3]._forward_hooks[0] = torch.nn.Identity()


def replace_forward(model: Any) -> None:
    import torch

    model.model[3].forward = torch.nn.SiLU


def hide_functions(model: Any) -> None:
    import torch

    model.model[3].odd = {"a": [(torch.nn.SiLU,)]}


def no_module(model: Any) -> None:
    model.model._modules["3"] = "not a module"


def no_tensor(model: Any) -> None:
    import torch

    model.model[3].conv._parameters["weight"] = torch.nn.SiLU


def not_a_number(model: Any) -> None:
    model.model[3].conv.weight.data[0, 0, 0, 0] = float("nan")


def another_head(model: Any) -> None:
    import torch

    model.model[-1] = torch.nn.Identity()


def grey(model: Any) -> None:
    model.yaml["channels"] = 1


def without(name: str) -> Edit:
    def edit(model: Any) -> None:
        delattr(model, name)

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (hook, "have hooks"),
        (replace_forward, "functions of their own"),
        (hide_functions, "functions of their own"),
        (no_module, "cannot be loaded|odd modules"),
        (no_tensor, "cannot be loaded|odd tensors"),
        (not_a_number, "no numbers in places"),
        (another_head, "head that is not YOLO's"),
        (grey, "photos of 1 colours"),
        (without("names"), "cannot be loaded"),
        (without("yaml"), "cannot be loaded"),
        (without("model"), "cannot be loaded"),
    ],
)
def test_more_or_less_than_a_detector_is_refused(changed_weights: Callable[..., Path], edit: Edit, said: str) -> None:
    path = changed_weights(edit)
    with pytest.raises(ModelError, match=said) as refused:
        weights.load(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("train_args", [[1], "text", 5, {"imgsz": "huge"}, {"imgsz": 10**9}, {"data": "http://a/b"}])
def test_what_weights_say_of_their_training_is_refused_or_does_not_matter(
    changed_weights: Callable[..., Path], train_args: object
) -> None:
    path = changed_weights(train_args=train_args)
    if isinstance(train_args, dict):
        size = detector.example_size(weights.load(path))
        assert all(32 <= side <= 2048 for side in size)
    else:
        with pytest.raises(ModelError, match=r"changed.pt cannot be loaded"):
            weights.load(path)


def prepare(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the workflow's script, without a network, on weights that it refuses in one sentence."""
    command = [sys.executable, str(ROOT / "workflow/scripts/prepare_model.py"), f"--weights={path}"]
    command.append(f"--target={folder / 'prepared' / 'model.json'}")
    environment = {**os.environ, **without_network(folder / "guard")}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("zipcrop: error: ")
    assert "Traceback" not in result.stderr
    assert not (folder / "guard" / "network_used").exists()
    assert not (folder / "prepared" / "model.json").exists()
    return result


def test_tensors_of_wrong_shapes_are_refused_and_the_log_says_where(
    changed_weights: Callable[..., Path], tmp_path: Path
) -> None:
    def narrow(model: Any) -> None:
        model.model[3].conv.weight.data = model.model[3].conv.weight.data[:, :1]

    result = prepare(changed_weights(narrow), tmp_path)
    assert "changed.pt cannot be converted (" in result.stderr
    assert "Traceback" in result.stdout


class Call:
    """A call of `function` as soon as it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_code_in_weights_is_not_run(tmp_path: Path) -> None:
    import torch

    torch.save({"model": Call(Path.touch, tmp_path / "it ran")}, tmp_path / "evil.pt")
    assert "evil.pt cannot be loaded" in prepare(tmp_path / "evil.pt", tmp_path).stderr
    assert not (tmp_path / "it ran").exists()


def evil_weights() -> dict[str, Call]:
    """Calls that would construct things, or ask a host, as soon as they are unpickled."""
    import torch
    from ultralytics.nn.modules.block import TorchVision
    from ultralytics.nn.tasks import BaseModel, DetectionModel

    backbone = [[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2, True]]]
    return {
        "torchvision": Call(TorchVision, "resnet18"),
        "yaml at a host": Call(DetectionModel, "https://example.com/yolov8n.yaml"),
        "yaml": Call(DetectionModel, {"nc": 1, "backbone": backbone, "head": [[-1, 1, "Detect", ["nc"]]]}),
        "layers": Call(torch.nn.Linear, 10, 10),
        "method": Call(getattr, BaseModel, "load"),
    }


PREPARING = """
import json, os, sys
from pathlib import Path
from zipcrop.errors import ZipcropError
from zipcrop.prepare.convert import prepare

said = {}
for path in map(Path, sys.argv[1:]):
    try:
        prepare(path, path.with_name("prepared") / "model.json")
        said[path.stem] = ""
    except ZipcropError as error:
        said[path.stem] = str(error)
    if os.path.exists(os.environ["NETWORK_USED"]):
        said[path.stem] += " and the network was used"
Path("said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The message for each of `evil_weights`, all prepared in one process, since its start takes longest."""

    def make(folder: Path) -> None:
        import torch

        for kind, call in evil_weights().items():
            torch.save({"model": torch.nn.Identity(), "train_args": {"a": call}}, folder / f"{kind}.pt")
        guarded = without_network(folder / "guard")
        path = os.pathsep.join([guarded["PYTHONPATH"], str(SCRIPTS)])
        command = [sys.executable, "-c", PREPARING, *map(str, sorted(folder.glob("*.pt")))]
        subprocess.run(command, cwd=folder, env={**os.environ, **guarded, "PYTHONPATH": path}, check=True)

    found: dict[str, str] = json.loads((once_per_run(tmp_path_factory, "evil", make) / "said.json").read_text())
    return found


@pytest.mark.parametrize("kind", ["torchvision", "yaml at a host", "yaml", "layers", "method"])
def test_weights_construct_nothing_and_ask_no_host(kind: str, said: dict[str, str]) -> None:
    assert f"{kind}.pt cannot be loaded" in said[kind]
    assert "network" not in said[kind]


def test_where_loading_asks_a_host_all_the_same_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is unknown here might do so, and catching the error does not help it."""
    import socket

    from ultralytics.nn import tasks

    asked = []

    def load_checkpoint(path: str) -> object:
        try:
            socket.create_connection(("127.0.0.1", 9))
        except PermissionError as error:
            asked.append(str(error))
        return original(path)

    original = tasks.load_checkpoint
    monkeypatch.setattr(tasks, "load_checkpoint", load_checkpoint)
    with pytest.raises(ModelError, match="tried to use the network, which was refused; do not trust them"):
        weights.load(WEIGHTS)
    assert asked


def test_where_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_path("yolov8s.pt") == Path("models/yolov8s.pt")
    (tmp_path / "yolov8s.pt").write_bytes(b"weights")
    assert weights_path("yolov8s.pt") == Path("yolov8s.pt")
    with pytest.raises(ModelError, match=r"there are no weights at runs/best.pt"):
        weights_path("runs/best.pt")
