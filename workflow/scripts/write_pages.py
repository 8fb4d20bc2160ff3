"""Writes the report's pages of tables and lists. Called by the rule pages."""

import argparse
from pathlib import Path

from zipcrop import files
from zipcrop.errors import machine_faults, run_script
from zipcrop.report import pages, survey_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("survey", "output", "folder"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--threads", required=True, type=int)
    options = parser.parse_args()
    with machine_faults(f"writing {options.folder}"):
        for name, page in pages.all_pages(survey_file.read(options.survey), options.output, options.threads):
            (options.folder / f"{name}.html").write_text(page, encoding="utf-8")
        files.sync(options.folder)


if __name__ == "__main__":
    run_script(main)
