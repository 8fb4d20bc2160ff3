"""Fails if any archive or member failed: what `strict` asks for. usage: require_no_failures.py SUMMARY.csv"""

import sys
from pathlib import Path

from zipcrop.errors import run_script
from zipcrop.results.summary import require_no_failures

if __name__ == "__main__":
    run_script(lambda: require_no_failures(Path(sys.argv[1])))
