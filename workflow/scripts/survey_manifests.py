"""Goes through all manifests once, for what the report shows. Called by the rule survey."""

import argparse
from pathlib import Path

from zipcrop.errors import machine_faults
from zipcrop.report import survey, survey_file
from zipcrop.results import summary
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("output", "summary", "survey"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    for option in ("list-length", "failures-listed"):
        parser.add_argument(f"--{option}", required=True, type=int)
    options = parser.parse_args()
    with machine_faults(f"writing {options.survey}"):
        table = summary.read(options.summary)
        found = survey.survey(options.output, table, options.list_length, options.failures_listed)
        survey_file.write(found, options.survey)


if __name__ == "__main__":
    run_script(main, shown="failure")
