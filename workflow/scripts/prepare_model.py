"""Checks weights and converts them for the engines. Called by the rule prepare_model."""

import argparse
from pathlib import Path

from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--target", required=True, type=Path, help="the model.json to write")
    parser.add_argument("--sha256", default="", help="what the weights' SHA-256 began with when the run began")
    options = parser.parse_args()

    # Here, since ultralytics prints when it is imported, which is for the log.
    from zipcrop.prepare.convert import prepare

    prepare(options.weights, options.target, options.sha256)


if __name__ == "__main__":
    run_script(main, shown="error")
