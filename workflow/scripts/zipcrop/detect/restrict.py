"""Restricts ultralytics and OpenVINO. To be called before they are imported."""

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
    restrict_openvino()  # ultralytics imports it to export


def restrict_openvino() -> None:
    """Keeps OpenVINO from reporting each import and each conversion to its makers, and from Intel's AMX instructions.

    It has no setting for the reports, but sends none if the package that sends them cannot be imported. On CPUs with
    AMX, int8 networks with dynamic shapes die of SIGSEGV (openvinotoolkit/openvino issue 37577), and on virtual
    machines that show AMX without letting it be used, all int8 networks die of SIGILL.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # The instruction set just below AMX. A user who sets the variable knows better.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def skip_openvino_converters() -> None:
    """Leaves OpenVINO's converters out, for processes that only infer. They are half of its import, and it works
    without them if they cannot be imported."""
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]


def message(error: Exception) -> str:
    """The message of `error`, for a sentence, without ultralytics' decorations."""
    return str(error).strip().removeprefix("ERROR ❌️ ").strip(" ❌") or type(error).__name__
