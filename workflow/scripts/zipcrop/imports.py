"""What ultralytics and OpenVINO may do when they are imported. To be called before that."""

from __future__ import annotations

import os
import sys


def restrict_ultralytics(offline: bool = True) -> None:
    """Keeps ultralytics from installing packages, from running the code inside weights (they are pickles), and, if
    `offline`, from using the network."""
    os.environ["YOLO_AUTOINSTALL"] = "0"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
    if offline:
        os.environ["YOLO_OFFLINE"] = "1"
    silence_openvino()  # which ultralytics imports to export


def silence_openvino() -> None:
    """Keeps OpenVINO from reporting each import and each conversion to its makers. It has no setting for that, but does
    without where the package that reports cannot be imported."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
