"""Does one archive: crops, originals without people, and the manifest. Called by the rule crop_archive."""

import signal
import sys
from pathlib import Path

from zipcrop.script import run_script


def main() -> None:
    # Here, since spawned workers import this file again and would pay for it.
    import argparse
    import json

    from zipcrop.job import run
    from zipcrop.job.task import Job
    from zipcrop.process import orphan
    from zipcrop.settings import Settings, Speed

    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("archive", "zip", "fingerprint"):
        parser.add_argument(f"--{option}", required=True)
    for option in ("model", "output", "log", "engine-logs"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    for option in ("settings", "speed"):
        parser.add_argument(f"--{option}", required=True, type=json.loads)
    for option in ("threads", "gpus"):
        parser.add_argument(f"--{option}", required=True, type=int)
    parser.add_argument("--refused", default="")
    options = vars(parser.parse_args())
    # A job that is told to end must end its workers, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    # Snakemake's end must be the job's, too, or it would get in the way of the next run.
    orphan.end_with_parent()
    settings, speed = Settings.from_flat(options.pop("settings")), Speed(**options.pop("speed"))
    run.run(Job(**options, settings=settings, speed=speed))


# Spawned workers import this file again: without the guard each would start workers of its own, for ever.
if __name__ == "__main__":
    run_script(main)
