# What all rules share: the checked configuration, the catalog of archives, and the functions that rules call.
import functools
import json
import os
import sys
import time
from pathlib import Path

SCRIPTS = Path(workflow.basedir, "workflow", "scripts")
sys.path.insert(0, str(SCRIPTS))

from zipcrop import RESULTS_VERSION, catalog, device, errors, lock, model, progress, settings, source, staging
from zipcrop.exports import EXPORTS_VERSION
from zipcrop.report import REPORT_VERSION, caption, label, survey_file

# Rules call `python`. Under --sdm conda that is the environment's; otherwise it must be the one that runs Snakemake, even
# if nobody has activated its environment.
os.environ.update(PATH=str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""))


def connect_to_store():
    """Has this process and its jobs find an object store the way that Snakemake's storage plugin does: by
    `--storage-s3-…` options or `SNAKEMAKE_STORAGE_S3_…` variables, if there are any. Archives are no storage inputs, since
    Snakemake would put them on the disk before their jobs begin, and give up the whole run where one cannot be had."""
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


SCHEMA = settings.load_schema(Path(workflow.basedir, "workflow", "schemas", "config.schema.yaml"))
try:
    config = settings.complete(config, SCHEMA)
    connect_to_store()
    ARCHIVES = catalog.find_archives(config["raw_zips"])
    WEIGHTS = model.weights_path(config["model"])
except errors.ZipcropError as error:
    sys.exit(f"zipcrop: error: {error}")

OUTPUT = str(Path(config["output"]))
SURVEY = f"{OUTPUT}/summary/survey.json"
# Captions quote it.
config["run"] = caption.figures(Path(SURVEY))


def untracked(value):
    """A params value that reruns nothing when it changes: Snakemake leaves functions that take more than the wildcards
    out of its rerun triggers. For what affects speed, or where things are, and never results."""
    return lambda wildcards, input: value


def script(name):
    return untracked(str(SCRIPTS / name))


def lock_output():
    """Keeps other runs out of the output folder until this process ends. Snakemake's own lock would outlive a kill -9."""
    global output_lock
    try:
        output_lock = lock.acquire(Path(OUTPUT, ".lock"))
    except lock.LockedError as error:
        sys.exit(
            f"zipcrop: error: another run ({error}) is at work in {OUTPUT}; wait until it has ended, or end it, and run"
            " again"
        )
    except OSError as error:
        sys.exit(f"zipcrop: error: {errors.MachineError.from_os_error(error, f'opening the folder {OUTPUT}')}")
    if not lock.is_held(output_lock):
        print(
            f"zipcrop: warning: the file system of {OUTPUT} has no locks; see to it that no second run works there",
            file=sys.stderr,
        )


def sweep_output():
    """Removes what was kept staged until Snakemake had noted that its job ended, and the lock."""
    try:
        staging.sweep(Path(OUTPUT))
        Path(OUTPUT, ".lock").unlink()
    except OSError:
        pass  # the end of the next run tries again


def name_unfinished():
    """As `show_unfinished`, unless there is no terminal any more."""
    try:
        show_unfinished()
    except OSError:
        pass


def show_unfinished():
    """Says at the end of a run that failed what is not done, and why, since it may have happened hours before."""
    unfinished = [archive for archive in ARCHIVES if not Path(OUTPUT, "manifests", f"{archive}.csv").exists()]
    if unfinished:
        print(
            f"zipcrop: not done: {len(unfinished)} of {len(ARCHIVES)} archives; run again to carry on", file=sys.stderr
        )
    for archive in unfinished[:20]:
        why = progress.last_words(Path("logs", "crop", f"{archive}.log"))
        print(f"  {archive}: {why or 'not begun, or killed'}", file=sys.stderr)
    if len(unfinished) > 20:
        print(f"  … and {len(unfinished) - 20} more", file=sys.stderr)


def all_manifests(wildcards):
    """A function, since jobs on a cluster, which read the rules again, need none of these thousands of paths."""
    return expand("{output}/manifests/{archive}.{kind}", output=OUTPUT, archive=ARCHIVES, kind=["csv", "json"])


def summaries():
    """What a run makes of all archives together."""
    wanted = [rules.summarize.output.summary, rules.plot.output, rules.contact_sheets.output, rules.pages.output]
    if config["exports"]["coco"]:
        wanted.append(rules.export_coco.output.annotations)
    if config["exports"]["yolo"]:
        wanted.append(rules.export_yolo.output.labels)
    return wanted


def targets():
    """What a run makes."""
    wanted = summaries()
    summary = rules.summarize.output.summary
    if Path(summary).exists():
        # A job that dies takes the old results of its archive with it, and the summary alone would still look up to
        # date.
        results = expand(list(rules.crop_archive.output), archive=ARCHIVES)
        wanted += [result for result in results if not Path(result).exists()]
    if not WEIGHTS.exists():
        # Snakemake makes a missing intermediate file only if something else is out of date; but whether the archives
        # are is known only once the weights are there.
        wanted.append(str(WEIGHTS))
    if staging.has_leftovers(Path(OUTPUT)):
        # Of a run that was killed before it could sweep, which a run with nothing to do would not do either.
        wanted.append(rules.clear_staging.output.cleared)
    if config["upload_to"] != "none":
        wanted += [*expand(rules.upload_archive.output.done, archive=ARCHIVES), rules.upload_summary.output.done]
    if config["strict"]:
        wanted.append(rules.require_no_failures.output.passed)
    return wanted


@functools.cache
def weights_sha256():
    return model.sha256(WEIGHTS)


def prepared_model(wildcards):
    """The prepared model's JSON, in a folder named after the weights' content: touched or copied weights rerun nothing,
    other ones rerun everything."""
    keep_group_going()
    if not WEIGHTS.exists():
        checkpoints.fetch_weights.get(name=WEIGHTS.stem)
    precision = "" if config["precision"] == "f32" else f"int8-{config['image_size']}/"
    return f"models/prepared/{weights_sha256()[:16]}/{precision}model.json"


@functools.cache
def archive_fingerprint(archive):
    return ARCHIVES[archive].fingerprint()


def fingerprint(wildcards):
    return archive_fingerprint(wildcards.archive)


def zip_file(wildcards, input):
    """Where the archive is; it takes `input` for the reason given at `untracked`."""
    return ARCHIVES[wildcards.archive].place


def gpus():
    """How many GPUs, or places for an archive where there are none, the run may use."""
    limits = workflow.global_resources
    return max(1, limits["gpu"].value) if "gpu" in limits else 1


def gpus_per_archive(wildcards):
    if on_cluster():
        return config["gpus_per_archive"] if uses_gpu() else 0
    return min(config["gpus_per_archive"], gpus())


def cores_per_archive(wildcards):
    """An even share of the cores for each archive that may run at once."""
    if on_cluster():
        return cluster_cores(wildcards.archive)
    return max(1, workflow.cores // (gpus() // gpus_per_archive(wildcards)))


def speed_settings():
    return json.dumps({key: config[key] for key in ("device", "engine", "batch", "workers", "gpus_per_archive")})


def limit_uploads():
    """Uploads take no cores that would keep them from being thousands at once."""
    if config["upload_to"] != "none" and "upload" not in workflow.global_resources:
        workflow.register_resource("upload", 4)


def shown(name, folder, suffix, category, label):
    """An output of the report, with the caption of its name."""
    return report(
        f"{OUTPUT}/summary/{folder}/{name}.{suffix}",
        caption=f"../report/{name}.rst",
        category=category,
        # One label alone: Snakemake makes of others switches, which break the page where a combination is missing.
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


def all_cores(wildcards):
    return CORES if on_cluster() else workflow.cores


def half_of_the_cores(wildcards):
    """Sheets and pages are made at the same time."""
    return max(1, all_cores(wildcards) // 2)
