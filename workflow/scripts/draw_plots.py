"""Draws the report's plots. Called by the rule plot."""

import argparse
from pathlib import Path

from zipcrop import files
from zipcrop.errors import machine_faults
from zipcrop.report import plots, survey_file
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("survey", "folder"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    options = parser.parse_args()
    with machine_faults(f"writing {options.folder}"):
        plots.draw_all(survey_file.read(options.survey), options.folder)
        files.sync(options.folder)


if __name__ == "__main__":
    run_script(main, shown="failure")
