"""Draws the report's contact sheets. Called by the rule contact_sheets."""

import argparse
import json
from pathlib import Path

from zipcrop.errors import machine_faults
from zipcrop.script import run_script


def main() -> None:
    # Imports are here, since each process that decodes pictures imports this file again.
    from zipcrop import files
    from zipcrop.report import survey_file
    from zipcrop.report.pictures import Pictures

    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("survey", "output", "crops", "photos"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--sampling", required=True, type=json.loads)
    for option, kind in (("threads", int), ("seconds", float), ("megapixels", float)):
        parser.add_argument(f"--{option}", required=True, type=kind)
    options = parser.parse_args()
    with machine_faults(f"writing {options.crops.parent}"):
        with (
            files.whole(options.crops) as crops,
            files.whole(options.photos) as photos,
            Pictures(options.threads, options.seconds, options.megapixels) as pictures,
        ):
            survey = survey_file.read(options.survey)
            if survey["numbers"]["images"]:
                pictures.start()
            from zipcrop.report import sheets  # which takes as long as the processes take to start

            sampling = sheets.Sampling(**options.sampling)
            sheets.draw_all(survey, options.output, crops, photos, sampling, pictures)
        files.sync(options.crops.parent)


if __name__ == "__main__":
    run_script(main, shown="failure")
