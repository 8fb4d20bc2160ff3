"""Judges weights from strangers: they must be a detector that this program reads, and nothing besides.

ultralytics' safe unpickler admits hundreds of classes, calls their constructors with arguments from the file, and sets
any attribute to any value. Here only the parts of a detector are admitted, in the form in which PyTorch saves them.
"""

from __future__ import annotations

import contextlib
import math
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from zipcrop.detect import restrict
from zipcrop.errors import ModelError, one_line

restrict.restrict_ultralytics()

from ultralytics.nn.modules import Detect  # noqa: E402 - only after it is restricted
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

_ADMITTED = {
    "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.nn.tasks.WorldModel",
    "ultralytics.nn.tasks.YOLOv10DetectionModel",  # whose head is refused, in words
    "ultralytics.utils.IterableSimpleNamespace",
    "ultralytics.yolo.utils.IterableSimpleNamespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    *(f"{module}.{name}Path" for module in ("pathlib", "pathlib._local") for name in ("Posix", "Windows")),
}
_ADMITTED_MODULES = (
    "torch.nn.modules.",
    "ultralytics.nn.modules.",
    "ultralytics.utils.loss.",  # in a detector that was saved while it was trained
    "ultralytics.utils.tal.",
)
_REFUSED = ("ultralytics.nn.modules.block.TorchVision",)  # downloads weights
_MOST_STRIDE = 1024
_MOST_EXAMPLE = 2048
"""Pixels of a side; the whole image is in memory when a network is converted."""


def check_globals(names: Iterable[str], shown: Path) -> None:
    """Raises ModelError unless a detector's weights may refer to all classes and functions called `names`; the message
    calls the weights `shown`, here and below."""
    for name in sorted(names):
        if name in _ADMITTED or (name.startswith(_ADMITTED_MODULES) and name not in _REFUSED):
            continue
        module, _, kind = name.rpartition(".")
        if module == "ultralytics.nn.tasks":
            raise ModelError(
                f"the weights {shown} hold a {in_words(kind)}; zipcrop needs a detector, such as yolov8s.pt"
            )
        raise ModelError(
            f"the weights {shown} cannot be loaded: they refer to {in_words(name)}, which no detector needs; "
            "do not trust them, and use others"
        )


@contextlib.contextmanager
def without_constructors() -> Iterator[None]:
    """Within the `with` block no module of a network can be constructed. PyTorch saves and loads modules without
    that."""

    def refuse(self: object, *arguments: object, **options: object) -> None:
        raise TypeError(f"it would construct a {type(self).__name__}")

    with mock.patch.object(nn.Module, "__init__", refuse):
        yield


def check(model: Any, shown: Path) -> None:
    """Raises ModelError if `model`, from the weights `shown`, does more than detect, or gives output that this program
    does not read. Even odder models may raise anything."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"the weights {shown} hold no network; zipcrop needs a detector, such as yolov8s.pt")
    # First, since the functions that are called below could be replaced.
    for module in _modules(model, shown):
        _check_module(module, shown)
    if model.task != "detect":
        raise ModelError(
            f"the weights {shown} are for the task {in_words(model.task)}; zipcrop needs a detector, such as yolov8s.pt"
        )
    if getattr(model, "end2end", False):
        raise ModelError(
            f"the weights {shown} have a head without NMS, which is not supported; use a YOLOv8 or YOLO11 one"
        )
    _check_head(model, shown)


def _modules(model: nn.Module, shown: Path) -> Iterator[nn.Module]:
    """All modules in `model`, found without calling any of its code."""
    seen = set()
    todo = [model]
    while todo:
        module = todo.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield module
        children = list(vars(module)["_modules"].values())
        if not all(child is None or isinstance(child, nn.Module) for child in children):
            raise _odd("modules", shown)
        todo += [child for child in children if child is not None]


def _check_module(module: nn.Module, shown: Path) -> None:
    values = vars(module)
    values.pop("criterion", None)  # the loss, left over from training
    if any(values.get(name) for name in vars(nn.Module()) if "hooks" in name):
        raise ModelError(
            f"the weights {shown} have hooks, which could do anything when they detect; export them without hooks, or "
            "use others"
        )
    for tensors in (values["_parameters"], values["_buffers"]):
        if not all(tensor is None or isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
            raise _odd("tensors", shown)
        for tensor in tensors.values():
            if tensor is not None and tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise ModelError(
                    f"the weights {shown} are no numbers in places (NaN or infinite); train or export them again"
                )
    if any(
        _calls(value, module) for name, value in values.items() if name not in ("_modules", "_parameters", "_buffers")
    ):
        raise ModelError(
            f"the weights {shown} put functions of their own into the network; export them again, or use others"
        )


def _calls(value: object, module: nn.Module) -> bool:
    """Whether `value`, an attribute of `module`, holds anything that can be called, other than a method of the module:
    a fused network has one for `forward`."""
    todo = [value]
    seen = set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            todo += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set)):
            todo += each
        elif isinstance(each, types.MethodType):
            if each.__self__ is not module or each.__func__ is not getattr(type(module), each.__name__, None):
                return True
        elif callable(each):
            return True
    return False


def _check_head(model: nn.Module, shown: Path) -> None:
    head = model.model[-1]
    if not isinstance(model, DetectionModel) or not isinstance(head, Detect):
        raise ModelError(
            f"the weights {shown} have a head that is not YOLO's ({type(head).__name__}), which is not supported; "
            "use a YOLOv8 or YOLO11 one"
        )
    classes = class_names(model, shown)
    if head.nc != len(classes):
        raise ModelError(
            f"the weights {shown} name {len(classes)} classes, but tell {in_words(head.nc)} apart; export them again"
        )
    person_class(classes, shown)
    stride(model, shown)
    channels = model.yaml.get("channels", 3) if isinstance(model.yaml, dict) else None
    if channels != 3:
        raise ModelError(f"the weights {shown} take photos of {in_words(channels)} colours; zipcrop needs 3 (RGB)")


def class_names(model: nn.Module, shown: Path) -> list[str]:
    """The classes of a detector, by number. Raises ModelError if they are not texts, or not numbered from 0 on."""
    names: Any = model.names
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not (
        isinstance(names, dict)
        and names
        and all(type(number) is int for number in names)
        and sorted(names) == list(range(len(names)))
        and all(isinstance(name, str) for name in names.values())
    ):
        raise ModelError(f"the weights {shown} have no proper list of the classes they tell apart; export them again")
    return [names[number] for number in range(len(names))]


def person_class(classes: list[str], shown: Path) -> int:
    """The index of the class `person`; 0, as in COCO, if the classes are only called by their numbers.

    Raises ModelError if there is no such class, or more than one.
    """
    names = [name.strip().lower() for name in classes]
    if names == [str(index) for index in range(len(names))]:
        return 0
    if names.count("person") > 1:
        raise ModelError(f"the weights {shown} know {names.count('person')} classes called person; use others")
    if "person" not in names:
        some = ", ".join(in_words(name) for name in classes[:5]) + (", …" if len(classes) > 5 else "")
        raise ModelError(f"the weights {shown} know no class called person (they know {some}); use others")
    return names.index("person")


def stride(model: nn.Module, shown: Path) -> int:
    """The largest stride of a detector, pixels. Raises ModelError if that is no sensible number."""
    head = model.model[-1]
    strides = [[float(each) for each in owner.stride] for owner in (model, head)]
    for each in (*strides[0], *strides[1]):
        if not (math.isfinite(each) and each == int(each) and 1 <= each <= _MOST_STRIDE):
            raise ModelError(
                f"the weights {shown} have a stride of {each:g} pixels, which cannot be; export them again"
            )
    if max(strides[0]) != max(strides[1]) or len(strides[1]) != head.nl:
        raise _odd("strides", shown)
    return int(max(strides[1]))


def example_size(model: nn.Module) -> list[int]:
    """Height and width of the image on which a detector is converted: those of its training, if they are sensible."""
    size: Any = model.args.get("imgsz")
    sides = list(size) if isinstance(size, (list, tuple)) and len(size) == 2 else [size, size]
    sensible = all(type(side) is int and 32 <= side <= _MOST_EXAMPLE for side in sides)
    return sides if sensible else [640, 640]


def _odd(what: str, shown: Path) -> ModelError:
    return ModelError(f"the weights {shown} have odd {what}; export them again, or use others")


def in_words(value: object) -> str:
    """A value from a file, for a message."""
    return one_line(str(value)) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
