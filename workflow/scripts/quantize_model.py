"""Quantises a prepared model, calibrated on photos from the archives. Called by the rule quantize_model."""

import argparse
import json
from pathlib import Path

from zipcrop.archive import catalog
from zipcrop.archive.reader import Limits
from zipcrop.prepare import quantize
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("model", "target"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--raw-zips", required=True)
    parser.add_argument("--settings", required=True, type=json.loads)
    options = parser.parse_args()
    limits = Limits(*(options.settings[f"limits.{key}"] for key in ("member_mb", "megapixels", "members")))
    archives = [found.place for found in catalog.find_archives(options.raw_zips).values()]
    quantize.quantize(
        options.model,
        options.target,
        archives,
        options.settings["image_size"],
        limits,
        options.settings["limits.seconds"],
    )


# Photos are decoded in a spawned process, which imports this file again.
if __name__ == "__main__":
    run_script(main, shown="error")
