"""Deletes the results of archives that are gone, and what is staged of them."""

import argparse
from collections.abc import Collection
from pathlib import Path

from zipcrop.archive import catalog
from zipcrop.errors import ResultsError, machine_faults
from zipcrop.job import staged
from zipcrop.results import layout, summary
from zipcrop.results.prune import remove
from zipcrop.script import run_script
from zipcrop.terminal import say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw-zips", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--upload-to", default="none")
    options = parser.parse_args()
    live = catalog.find_archives(options.raw_zips)
    with machine_faults(f"deleting results in {options.output}"):
        prune(options.output, live, options.upload_to)
        staged.sweep(options.output, live)


def prune(output: Path, live: Collection[str], upload_to: str) -> None:
    """Deletes from the folder `output`, and from the store that they were uploaded to, the results of archives that are
    not among `live`. Raises MachineError, OSError."""
    orphans = summary.orphans(output, live)
    for archive in orphans:
        try:
            if upload_to != "none":
                from zipcrop.results import upload  # which takes long to import

                upload.remove(output, archive, live, upload_to.rstrip("/"))
                layout.uploaded(output, archive).unlink(missing_ok=True)
            others = remove(output, archive, live)
        except ResultsError as error:
            say(f"warning: which files are those of {archive} cannot be told, since {error.what}; delete them yourself")
            continue
        if others:
            say(f"warning: {layout.left_alone(archive, others)}")
        say(f"deleted the results of {archive}")
    if not orphans:
        say(f"nothing to prune in {output}")


if __name__ == "__main__":
    run_script(main, shown="all")
