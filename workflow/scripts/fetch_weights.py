"""Fetches official weights. Called by the checkpoint fetch_weights."""

import argparse
from pathlib import Path

from zipcrop.prepare.fetch import fetch
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, type=Path, help="where to put the weights; its name says which")
    fetch(parser.parse_args().target)


if __name__ == "__main__":
    run_script(main, shown="error")
