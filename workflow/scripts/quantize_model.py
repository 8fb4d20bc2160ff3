"""Quantises a prepared model, calibrated on photos from the archives. Called by the rule quantize_model."""

import argparse
import json
from pathlib import Path

from zipcrop.archive import catalog
from zipcrop.prepare import quantize
from zipcrop.script import run_script
from zipcrop.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("model", "target"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--raw-zips", required=True)
    parser.add_argument("--settings", required=True, type=json.loads)
    options = parser.parse_args()
    archives = [found.location for found in catalog.find_archives(options.raw_zips).values()]
    quantize.quantize(options.model, options.target, archives, Settings.from_flat(options.settings))


# Photos are decoded in a spawned process, which imports this file again.
if __name__ == "__main__":
    run_script(main, shown="error")
