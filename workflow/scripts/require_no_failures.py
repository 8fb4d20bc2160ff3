"""Fails if any archive or member failed, which `strict` asks for. Called by the rule require_no_failures."""

import argparse
from pathlib import Path

from zipcrop.results.summary import require_no_failures
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", required=True, type=Path)
    require_no_failures(parser.parse_args().summary)


if __name__ == "__main__":
    run_script(main, shown="all")
