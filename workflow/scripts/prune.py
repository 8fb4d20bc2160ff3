"""Deletes the results of archives that are gone, and what is staged of them."""

import argparse
from pathlib import Path

from zipcrop import catalog, staging, summary
from zipcrop.errors import run_script
from zipcrop.terminal import say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw-zips", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--upload-to", default="none")
    options = parser.parse_args()
    live = catalog.find_archives(options.raw_zips)
    orphans = summary.orphans(options.output, live)
    for archive in orphans:
        if options.upload_to != "none":
            from zipcrop import upload  # which takes long to import

            upload.remove(options.output, archive, live, options.upload_to.rstrip("/"))
            upload.marker(options.output, archive).unlink(missing_ok=True)
        summary.remove(options.output, archive, live)
        say(f"deleted the results of {archive}")
    staging.sweep(options.output, live)
    if not orphans:
        say(f"nothing to prune in {options.output}")


if __name__ == "__main__":
    run_script(main)
