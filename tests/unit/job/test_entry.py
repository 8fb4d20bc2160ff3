from __future__ import annotations

import subprocess
import sys

from helpers.project import ROOT


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
