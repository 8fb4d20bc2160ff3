"""Weights: fetched, checked and converted. The only module beside the torch engine that imports ultralytics."""

from __future__ import annotations

import contextlib
import errno
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zipcrop import imports
from zipcrop.confinement import confined
from zipcrop.errors import ModelError, machine_faults, one_line
from zipcrop.files import flush
from zipcrop.model import Model, check_weights_file, sha256

if TYPE_CHECKING:
    from torch.nn import Module


def fetch(target: Path) -> None:
    """Downloads the official weights called `target.name` to `target`, whole or not at all.

    Raises ModelError where the name is no official one, where there is no network, or where what came does not load.
    """
    imports.restrict_ultralytics(offline=False)
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    advice = f"put the weights at {target} yourself, or set model to the path of a weights file"
    if target.name not in GITHUB_ASSETS_NAMES:
        raise ModelError(f"model {target.name} is neither a file nor the name of official weights; {advice}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download = Path(folder) / target.name
        try:
            attempt_download_asset(download)
        except Exception as error:  # requests, sockets and ultralytics raise many kinds here
            raise ModelError(f"{target.name} could not be downloaded ({one_line(_message(error))}); {advice}") from None
        if not download.exists():
            raise ModelError(f"{target.name} could not be downloaded; {advice}")
        load(download, target)
        flush(download)
        download.replace(target)
        flush(target.parent)


def load(path: Path, known_as: Path | None = None) -> Module:
    """The detector in the weights file at `path`, in f32 on the CPU; messages call it `known_as`, if that is given.

    Raises ModelError where the file is damaged, or is not a detector whose output this program reads, or holds more
    than that. Nothing in it reaches the network, another process or the disk.
    """
    imports.restrict_ultralytics()
    import torch
    from ultralytics.nn import tasks

    from zipcrop import detector

    tasks.SAFE_LOAD = True  # whoever imported it before it was restricted
    shown = known_as or path
    with _judged(shown, "cannot be loaded: the file is damaged or is not an ultralytics model"):
        detector.check_globals(torch.serialization.get_unsafe_globals_in_checkpoint(path), shown)
        with detector.without_constructors():
            model, _ = tasks.load_checkpoint(str(path))
        detector.check(model, shown)
    return model


def prepare(path: Path, target: Path, expected: str = "") -> Model:
    """Checks the weights at `path`, and writes into the folder of `target`, a JSON file, all that the engines need, the
    JSON last.

    Raises ModelError as `load` does, and where their SHA-256 does not begin with `expected`, or they cannot be
    converted; MachineError where the disk is full and the like.
    """
    with machine_faults(f"preparing {path} in {target.parent}"):
        return _prepare(path, target, expected)


def _prepare(path: Path, target: Path, expected: str) -> Model:
    imports.restrict_ultralytics()
    check_weights_file(path)
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # lest it speak of files that are being replaced
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        weights = Path(shutil.copyfile(path, Path(made) / "weights.pt"))
        digest = sha256(weights)
        if not digest.startswith(expected):
            raise ModelError(f"the weights {path} changed since the run began; run again once they are complete")
        model = load(weights, path)
        exported = _export(model, Path(made), path)
        # What others have mapped stays as it is.
        weights.replace(folder / weights.name)
        for suffix in (".bin", ".xml"):
            (exported / f"weights{suffix}").replace(folder / f"openvino{suffix}")
    from zipcrop import detector

    classes = detector.class_names(model, path)
    return Model(
        sha256=digest,
        name=path.name,
        task=model.task,
        classes=classes,
        person=detector.person_class(classes, path),
        stride=detector.stride(model, path),
        weights=weights.name,
        openvino="openvino.xml",
    ).write(target)


def _export(model: Module, folder: Path, shown: Path) -> Path:
    """Converts a detector for OpenVINO, in `folder`, where its weights are; gives the folder of the result."""
    from ultralytics.engine.exporter import Exporter
    from ultralytics.utils import SETTINGS

    from zipcrop import detector

    # It would advertise OpenVINO once, and note in the user's settings that it has.
    dict.update(SETTINGS, openvino_msg=False)
    # Not YOLO.export, which would load the weights again, and take what they say of their training for settings.
    settings = {
        "mode": "export",
        "format": "openvino",
        "dynamic": True,
        "imgsz": detector.example_size(model),
        "batch": 1,
        "verbose": False,
    }
    with _judged(shown, "cannot be converted", folder):
        return Path(Exporter(overrides=settings)(model=model))


@contextlib.contextmanager
def _judged(shown: Path, what: str, *folders: Path) -> Iterator[None]:
    """Turns what the `with` block raises, which may be anything, into a ModelError that says that the weights `shown`
    are not good: `what`. It is confined, and may write below `folders`."""
    failure: Exception | None = None
    with confined(*folders) as tried:
        try:
            yield
        except ModelError as error:
            failure = error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            # To stdout, which is in the log, too: on stderr there is the sentence alone.
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            failure = ModelError(
                f"the weights {shown} {what} ({one_line(_message(error))}); fetch or export them again, or use others"
            )
    if tried:
        failure = ModelError(
            f"the weights {shown} tried to {tried[0]}, which was refused; do not trust them, and use others"
        )
    if failure:
        raise failure from None


def _message(error: Exception) -> str:
    return str(error).strip().removeprefix("ERROR ❌️ ").strip(" ❌") or type(error).__name__
