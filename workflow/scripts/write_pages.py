"""Writes the report's pages of tables and lists. Called by the rule pages."""

import argparse
from pathlib import Path

from zipcrop.errors import machine_faults
from zipcrop.script import run_script


def main() -> None:
    # Imports are here, since each process that decodes pictures imports this file again.
    from zipcrop import files
    from zipcrop.report import survey_file
    from zipcrop.report.pictures import Pictures

    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("survey", "output", "folder"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    for option, kind in (("threads", int), ("seconds", float), ("megapixels", float)):
        parser.add_argument(f"--{option}", required=True, type=kind)
    options = parser.parse_args()
    with (
        machine_faults(f"writing {options.folder}"),
        Pictures(options.threads, options.seconds, options.megapixels) as pictures,
    ):
        survey = survey_file.read(options.survey)
        if survey["numbers"]["images"]:
            pictures.start()
        from zipcrop.report import pages  # which takes longer than the processes take to start

        for name, page in pages.all_pages(survey, options.output, pictures):
            (options.folder / f"{name}.html").write_text(page, encoding="utf-8")
        files.sync(options.folder)


if __name__ == "__main__":
    run_script(main, shown="failure")
