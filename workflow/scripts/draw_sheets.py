"""Draws the report's contact sheets. Called by the rule contact_sheets."""

import argparse
import json
from pathlib import Path

from zipcrop import exports, files
from zipcrop.errors import machine_faults, run_script
from zipcrop.report import sheets, survey_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("survey", "output", "crops", "photos"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--sampling", required=True, type=json.loads)
    parser.add_argument("--threads", required=True, type=int)
    options = parser.parse_args()
    with machine_faults(f"writing {options.crops.parent}"):
        with exports.whole(options.crops) as crops, exports.whole(options.photos) as photos:
            sampling = sheets.Sampling(**options.sampling)
            sheets.draw_all(survey_file.read(options.survey), options.output, crops, photos, sampling, options.threads)
        files.sync(options.crops.parent)


if __name__ == "__main__":
    run_script(main)
