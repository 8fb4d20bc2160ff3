"""The price of reading an archive from an object store instead of a file, in turns, with the bundled detector.

    PYTHONPATH=workflow/scripts:tests .venv/bin/python benchmarks/object_store.py photos.zip

The store is moto's server on the same machine, so that the network costs nothing and the server's work counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers.job import SETTINGS
from helpers.project import ROOT, WEIGHTS
from helpers.store import Store
from zipcrop.archive import source

SPEED = {"device": "cpu", "engine": "openvino", "batch": 16, "workers": "auto", "gpus_per_archive": 1}


def seconds(location: str, model: Path, folder: Path) -> float:
    """The duration of the crop job for the archive at `location`."""
    command = [sys.executable, str(ROOT / "workflow/scripts/crop_archive.py"), "--archive=a", f"--zip={location}"]
    command += [f"--fingerprint={source.at(location).fingerprint()}", f"--model={model}", f"--threads={os.cpu_count()}"]
    command += [f"--settings={json.dumps(SETTINGS)}", f"--speed={json.dumps(SPEED)}", f"--log={folder / 'log'}"]
    command += ["--gpus=1", f"--engine-logs={folder / 'engine'}"]
    with tempfile.TemporaryDirectory(dir=folder) as output:
        started = time.monotonic()
        subprocess.run([*command, f"--output={output}"], check=True, capture_output=True)
        return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = folder / "model.json"
        prepare = [sys.executable, str(ROOT / "workflow/scripts/prepare_model.py")]
        subprocess.run([*prepare, f"--weights={WEIGHTS}", f"--target={model}"], check=True, capture_output=True)
        store = Store(folder)
        try:
            os.environ.update(store.variables)
            store.create_bucket("raw")
            store.put("raw", "a.zip", options.archive.read_bytes())
            ratios = []
            for _ in range(options.rounds):
                local = seconds(str(options.archive), model, folder)
                before = len(store.requests())
                stored = seconds("s3://raw/a.zip", model, folder)
                requests = len(store.requests()) - before
                print(f"file {local:.2f} s, store {stored:.2f} s, {requests} requests", flush=True)
                ratios.append(stored / local)
            print(f"store / file: {statistics.median(ratios):.2f} (median; {min(ratios):.2f} to {max(ratios):.2f})")
        finally:
            store.stop()


if __name__ == "__main__":
    main()
