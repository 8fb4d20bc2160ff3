"""Writes the people of all archives in COCO's detection format."""

import argparse
from pathlib import Path

from zipcrop.errors import machine_faults
from zipcrop.results import coco, exports, layout
from zipcrop.script import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    output = parser.parse_args().output
    target = layout.coco(output)
    with machine_faults(f"writing {target}"):
        counts = coco.write(output, exports.archives(output))
    print(f"{target}: {counts.photos} photos, {counts.people} people")


if __name__ == "__main__":
    run_script(main, shown="all")
