# What all rules share: the checked configuration, the catalog of archives, and how scripts are called.
import os
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir, "workflow", "scripts")
sys.path.insert(0, str(SCRIPTS))

from zipcrop import RESULTS_VERSION, catalog, errors, model, settings

# Rules call `python`. Under --sdm conda that is the environment's; otherwise it must be the one that runs Snakemake, even
# if nobody has activated its environment.
os.environ.update(PATH=str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""))

SCHEMA = settings.load_schema(Path(workflow.basedir, "workflow", "schemas", "config.schema.yaml"))
try:
    config = settings.complete(config, SCHEMA)
    ARCHIVES = catalog.find_archives(config["raw_zips"])
except errors.ZipcropError as error:
    sys.exit(f"zipcrop: error: {error}")

OUTPUT = config["output"].rstrip("/") or "/"


def untracked(value):
    """A params value that reruns nothing when it changes: Snakemake leaves functions that take more than the wildcards
    out of its rerun triggers. For what affects speed, or where things are, and never results."""
    return lambda wildcards, input: value


def script(name):
    return untracked(str(SCRIPTS / name))


def targets():
    """What a run makes; strict adds the check that fails."""
    return [rules.summarize.output.summary] + ([rules.require_no_failures.output.passed] if config["strict"] else [])
