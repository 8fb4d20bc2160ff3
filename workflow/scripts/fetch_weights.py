"""Fetches official weights by name. usage: fetch_weights.py models/NAME.pt"""

import sys
from pathlib import Path

from zipcrop.errors import run_script
from zipcrop.prepare.fetch import fetch

if __name__ == "__main__":
    run_script(lambda: fetch(Path(sys.argv[1])))
