# What all rules share: the checked configuration, and how rules call scripts and say what they leave.
import functools
import json
import os
import re
import sys
import time
from pathlib import Path

from snakemake.io import IOFile

# Of this file, not of the main Snakefile, which is another one where this workflow is a module.
SOURCE = Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parent
SCRIPTS = SOURCE / "scripts"
sys.path.insert(0, str(SCRIPTS))

from zipcrop.archive import catalog, source
from zipcrop.detect import model
from zipcrop import configuration, errors, files
from zipcrop.results import layout, summary_state
from zipcrop.process import gpu, lock, progress
from zipcrop.job import plan, staged
from zipcrop.results.exports import EXPORTS_VERSION
from zipcrop.report import REPORT_VERSION, caption, label, survey_file

# Rules call `python`. Under --sdm conda that is the environment's; otherwise it must be the one that runs Snakemake, even
# if nobody has activated its environment.
os.environ.update(PATH=str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""))

IS_MODULE = not workflow.modifier.is_main_snakefile()


def stop(error):
    """Ends the run with one sentence."""
    sys.exit(f"zipcrop: error: {error}")


def refuse_prefixes():
    """Scripts write below `output` and know nothing of paths that a module statement changes."""
    modifier = workflow.modifier.path_modifier
    if modifier.prefix or modifier.modifies_prefixes:
        stop(
            "the module's prefix or replace_prefix would not hold for its results; leave it out, and set output instead"
        )


def connect_to_store():
    """Lets this process and its jobs find an object store as Snakemake's storage plugin does: by `--storage-s3-…` options or
    `SNAKEMAKE_STORAGE_S3_…` variables, if there are any. Archives are not storage inputs, since Snakemake would put them
    on the disk before their jobs begin, and would give up the whole run where one cannot be had."""
    if not (source.is_url(config["raw_zips"]) or source.is_url(config["upload_to"])):
        return
    given = workflow.storage_registry.register_storage("s3").settings
    variables = {
        "AWS_ENDPOINT_URL_S3": given.endpoint_url,
        "AWS_ACCESS_KEY_ID": given.access_key,
        "AWS_SECRET_ACCESS_KEY": given.secret_key,
        "AWS_SESSION_TOKEN": given.token,
    }
    os.environ.update({name: value for name, value in variables.items() if value})


SCHEMA = configuration.load_schema(SOURCE / "schemas" / "config.schema.yaml")
refuse_prefixes()
try:
    config = configuration.complete(config, SCHEMA)
    connect_to_store()
    WEIGHTS = model.weights_path(config["model"])
except errors.ZipcropError as error:
    stop(error)

OUTPUT = str(Path(config["output"]))
SURVEY = f"{OUTPUT}/summary/survey.json"


def untracked(value):
    """A params value that reruns nothing when it changes: Snakemake leaves functions that take more than the wildcards
    out of its rerun triggers. It is for speed and locations, never for what changes results."""
    return lambda wildcards, input: value


def script(name):
    return untracked(str(SCRIPTS / name))


def speed_settings():
    return json.dumps(vars(configuration.speed_settings(config)))


def result_settings():
    return json.dumps(configuration.result_settings(config).flat())


# These functions take `input` for the reason given at `untracked`.
def fingerprint(wildcards, input):
    """The archive's fingerprint; the last one known if it cannot be read at the moment."""
    archive = wildcards.archive
    return PLAN.fingerprints.get(archive) or ARCHIVES[archive].fingerprint()


def zip_file(wildcards, input):
    """The archive's location."""
    return ARCHIVES[wildcards.archive].location


def refusal(wildcards, input):
    """Why the archive is not opened; empty if it is."""
    archive = ARCHIVES[wildcards.archive]
    return archive.refusal if isinstance(archive, source.RefusedZip) else ""


def number_of_unreadable(wildcards, input):
    return len(PLAN.unreadable)


def shown(name, folder, suffix, category, label):
    """An output of the report, with the caption of its name."""
    return report(
        f"{OUTPUT}/summary/{folder}/{name}.{suffix}",
        caption=f"../report/{name}.rst",
        category=category,
        # Only one label: Snakemake turns further ones into switches, which break the page where a combination is missing.
        labels={"shows": label},
    )


def sheets_of(name, subcategory):
    """A folder of contact sheets, one per archive."""
    return report(
        directory(f"{OUTPUT}/summary/sheets/{name}"),
        patterns=["{rank}.jpg"],
        caption=f"../report/sheets_of_{name}.rst",
        category="3 Contact sheets",
        subcategory=subcategory,
        labels=sheet_labels,
    )


def sheet_labels(wildcards):
    return {"archive, worst first": label.of_sheet(archives_by_rank(), int(wildcards.rank))}


@functools.cache
def archives_by_rank():
    return [each["archive"] for each in survey_file.read(Path(SURVEY))["archives"]]
