from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from helpers.files import make_zip
from helpers.project import ROOT

if TYPE_CHECKING:
    from helpers.job import Crop


def imported(code: str) -> set[str]:
    """The modules that are there once the statements in `code` have run."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(ROOT / "workflow/scripts")}, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_job_and_the_beginning_of_its_workers_wait_for_no_large_library() -> None:
    modules = imported("from zipcrop.job import entry, run")
    assert {"zipcrop.job.pool", "zipcrop.job.entry", "zipcrop.image.formats"} <= modules
    assert {"numpy", "cv2", "openvino", "PIL", "pandas", "boto3", "jsonschema"}.isdisjoint(modules)


def test_a_network_compiles_before_opencv_is_imported() -> None:
    modules = imported("from zipcrop.job import entry\nfrom zipcrop.detect import engine, openvino")
    assert "openvino" in modules
    assert {"cv2", "torch"}.isdisjoint(modules)
    assert "cv2" in imported("from zipcrop.job import worker")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is kept with glibc alone")
def test_a_worker_decodes_into_the_memory_of_earlier_photos(tmp_path: Path, crop: Crop) -> None:
    pixels = np.full((3000, 4000, 3), 128, np.uint8)
    photo = cv2.imencode(".jpg", pixels)[1].tobytes()

    def faults(count: int) -> int:
        """The page faults of a job of `count` photos."""
        make_zip(tmp_path / f"{count}.zip", [(f"{number}.jpg", photo) for number in range(count)])
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        assert len(crop(tmp_path / f"{count}.zip")) == count
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

    few = faults(10)
    assert (faults(40) - few) / 30 < pixels.nbytes / resource.getpagesize() / 2
