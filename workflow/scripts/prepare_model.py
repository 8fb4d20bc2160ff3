"""Checks weights and converts them for the engines. usage: prepare_model.py WEIGHTS.pt FOLDER/model.json [SHA256]

The SHA256, or its beginning, is what the weights had when the run began."""

import sys
from pathlib import Path

from zipcrop.errors import run_script
from zipcrop.prepare.convert import prepare

if __name__ == "__main__":
    run_script(lambda: prepare(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
