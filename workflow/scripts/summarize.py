"""Writes the summary of all archives, and names what failed and what is left of archives that are gone."""

import argparse
from pathlib import Path

from zipcrop.archive import catalog
from zipcrop.errors import machine_faults
from zipcrop.results import layout, summary
from zipcrop.script import run_script
from zipcrop.terminal import say

MOST_LINES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw-zips", required=True)
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    live = catalog.find_archives(options.raw_zips)
    # An archive that came while the run was under way has no manifest yet; the next run does it.
    archives = {
        archive: found.location for archive, found in live.items() if layout.manifest(options.output, archive).exists()
    }
    with machine_faults(f"summarizing {options.output}"):
        table, failures, warnings = summary.summarize(options.output, archives)
        summary.write(table, options.output)
        orphans = summary.orphans(options.output, live)
    say(summary.closing_line(table))
    show("failed", failures, "every reason is in its archive's manifest")
    for warning in warnings[:MOST_LINES]:
        say(f"warning: {warning}")
    if len(warnings) > MOST_LINES:
        say(f"  … and {len(warnings) - MOST_LINES} more warnings")
    show("warning: results without an archive", orphans, "`snakemake prune` deletes them")


def show(title: str, lines: list[str], advice: str) -> None:
    """Prints `lines` under `title`, unless there are none."""
    if lines:
        say(f"{title}: {len(lines)} ({advice})")
        for line in lines[:MOST_LINES]:
            say(f"  {line}")
    if len(lines) > MOST_LINES:
        say(f"  … and {len(lines) - MOST_LINES} more")


if __name__ == "__main__":
    run_script(main, shown="all")
