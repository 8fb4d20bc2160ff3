"""What ultralytics, OpenVINO and NumPy may do when they are imported. To be called before that."""

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
    restrict_openvino()  # which ultralytics imports to export


def restrict_openvino() -> None:
    """Keeps OpenVINO from reporting each import and each conversion to its makers, and from Intel's AMX instructions.

    It has no setting for the reports, but does without where the package that sends them cannot be imported. On CPUs
    with AMX, int8 networks with dynamic shapes die of SIGSEGV (openvinotoolkit/openvino issue 37577), and all int8
    networks of SIGILL on virtual machines that show AMX without letting it be used.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # What oneDNN has just below AMX. Who sets the variable knows better.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def skip_openvino_converters() -> None:
    """Leaves OpenVINO's converters out, for processes that only infer: they are half of its import, and it does without
    where they cannot be imported."""
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
