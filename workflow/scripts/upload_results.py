"""Puts results into an object store: an archive's, or the summaries. Called by the rules of upload.smk."""

import argparse
import json
from pathlib import Path

from zipcrop import files
from zipcrop.errors import machine_faults
from zipcrop.results import layout, upload
from zipcrop.script import run_script
from zipcrop.terminal import say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--archive", help="its results; without it, the summaries")
    parser.add_argument("--url", required=True)
    parser.add_argument("--done", required=True, type=Path, help="file to write when all is there")
    options = parser.parse_args()
    others: list[str] = []
    with machine_faults(f"uploading from {options.output}"):
        if options.archive is None:
            count = upload.summaries(options.output, options.url)
        else:
            count, others = upload.archive(options.output, options.archive, options.url)
        with files.whole(options.done) as part:
            part.write_text(json.dumps({"url": options.url, "files": count}) + "\n", encoding="utf-8")
    if others:
        say(f"warning: {layout.left_alone(options.archive, others)}")
    say(f"{count} files to {options.url}")


if __name__ == "__main__":
    run_script(main, shown="error")
