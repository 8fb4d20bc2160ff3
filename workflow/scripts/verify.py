"""Compares all results with what was written. Called by the rule verify."""

import argparse
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zipcrop.errors import MachineError
from zipcrop.results import layout, verify
from zipcrop.script import run_script
from zipcrop.terminal import say

MOST_LINES = 20
"""Of each archive."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    archives = list(layout.archives_with_manifests(options.output))
    bad = []
    with ThreadPoolExecutor(options.threads) as pool:
        found = pool.map(lambda archive: list(verify.problems(options.output, archive)), archives)
        for archive, problems in zip(archives, found, strict=True):
            bad += [archive] if problems else []
            for problem in problems[:MOST_LINES]:
                say(f"{archive}: {problem}")
            if len(problems) > MOST_LINES:
                say(f"{archive}: … and {len(problems) - MOST_LINES} more")
    say(f"verified {len(archives)} archives in {options.output}: {len(archives) - len(bad)} are as they were written")
    if bad:
        again = shlex.quote(str(layout.manifest(options.output, bad[0])))
        raise MachineError(
            f"the results of {len(bad)} archives are not as they were written; snakemake --forcerun {again} makes those"
            f" of {bad[0]} anew, and --forcerun crop_archive those of all"
        )


if __name__ == "__main__":
    run_script(main, shown="all")
