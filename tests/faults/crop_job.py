"""Runs a crop job by itself, as the rule crop_archive and the end of the run after it do; for jobs that are disturbed.

The only argument is JSON: `zip`, `fingerprint`, `model`, `output`, `log` and `settings`, as `task.Job` has them.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from zipcrop.script import run_script
from zipcrop.settings import Settings, Speed


def fields(zip: str, fingerprint: str, model: str, output: str, log: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of `task.Job`."""
    return {
        "archive": Path(zip).stem,
        "zip": zip,
        "fingerprint": fingerprint,
        "model": Path(model),
        "output": Path(output),
        "log": Path(log),
        "settings": Settings.from_flat(settings),
        "speed": Speed("cpu", "openvino", batch=16, workers=1, gpus_per_archive=1),
        "threads": 2,
    }


def main() -> None:
    from zipcrop.job import run, staged, task

    asked = fields(**json.loads(sys.argv[1]))
    try:
        run.run(task.Job(**asked))
    finally:
        # At the end of a run, which ends as it would have all the same.
        with contextlib.suppress(OSError):
            staged.sweep(asked["output"])


# Spawned workers import this file again.
if __name__ == "__main__":
    run_script(main)
