# What all rules share: the checked configuration, the catalog of archives, and the functions that rules call.
import functools
import json
import os
import sys
import time
from pathlib import Path

from snakemake.io import IOFile

SCRIPTS = Path(workflow.basedir, "workflow", "scripts")
sys.path.insert(0, str(SCRIPTS))

from zipcrop.archive import catalog, source
from zipcrop.detect import device, model
from zipcrop import errors, files, settings
from zipcrop.results import layout, manifest, summary_state
from zipcrop.process import lock, progress
from zipcrop.job import plan, staging
from zipcrop.results.exports import EXPORTS_VERSION
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
    """Removes what killed jobs have left staged, has everything on the disk, and removes the lock."""
    try:
        staging.sweep(Path(OUTPUT))
        files.sync(Path(OUTPUT))
        Path(OUTPUT, ".lock").unlink()
    except (OSError, errors.ZipcropError):
        pass  # the end of the next run tries again


def name_unfinished():
    """As `show_unfinished`, unless there is no terminal any more."""
    try:
        show_unfinished()
    except OSError:
        pass


def show_unfinished():
    """Says at the end of a run that failed what is not done, and why, since it may have happened hours before."""
    left = make_plan(sorted({*PLAN.pending, *PLAN.unreadable, *asked_for_again()}))
    unfinished = [archive for archive in ARCHIVES if archive in left.pending or archive in left.unreadable]
    if unfinished:
        print(
            f"zipcrop: not done: {len(unfinished)} of {len(ARCHIVES)} archives; run again to carry on", file=sys.stderr
        )
    for archive in unfinished[:20]:
        if archive in left.unreadable:
            why = f"cannot be read ({left.unreadable[archive]}); its results are those of before"
        else:
            why = progress.last_words(Path("logs", "crop", f"{archive}.log"), archive) or "not begun, or killed"
        print(f"  {archive}: {why}", file=sys.stderr)
    if len(unfinished) > 20:
        print(f"  … and {len(unfinished) - 20} more", file=sys.stderr)


@functools.cache
def say_why():
    """Says in one line why archives are done again that have been done."""
    if why := PLAN.in_words():
        print(f"zipcrop: {why}", file=sys.stderr)


def all_manifests(wildcards):
    """A function, since jobs on a cluster, which read the rules again, need none of these thousands of paths."""
    manifests = expand("{output}/manifests/{archive}.{kind}", output=OUTPUT, archive=ARCHIVES, kind=["csv", "json"])
    if workflow.dryrun:
        say_why()
    if workflow.is_main_process:
        summary = f"{OUTPUT}/summary.csv"
        if summary_is_stale():
            run_again(summary)
        elif not PLAN.pending:
            leave_alone([summary], manifests, rules.summarize)
    return manifests


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
    if not WEIGHTS.exists() and PLAN.pending:
        # Snakemake makes a missing intermediate file only if something else is out of date; but whether the archives
        # are is known only once the weights are there.
        wanted.append(str(WEIGHTS))
    if staging.has_leftovers(Path(OUTPUT)):
        # Of a run that was killed before it could sweep, which a run with nothing to do would not do either.
        wanted.append(rules.clear_staging.output.cleared)
    if PLAN.unreadable:
        wanted.append(rules.name_unreadable.output.never)
    if config["upload_to"] != "none":
        wanted += [*expand(rules.upload_archive.output.done, archive=ARCHIVES), rules.upload_summary.output.done]
    if config["strict"]:
        wanted.append(rules.require_no_failures.output.passed)
    return wanted


# Snakemake decides by what it remembers in .snakemake/ of this copy, and by times. Whether an archive is done is in its
# record instead, whoever has made it; the functions that follow bring Snakemake to agree. Input functions are the first
# that are called once its command line is known and before it decides.
def manifest_files(archive):
    """The outputs of `crop_archive` for that archive."""
    return expand(list(rules.crop_archive.output), archive=archive)


@functools.cache
def asked_for_again():
    """The archives that the command line wants to be done once more, whatever is there."""
    asked = workflow.dag_settings
    everything = {rules.crop_archive.rule.name}
    if config["precision"] == "int8":
        everything.add(rules.quantize_model.rule.name)  # another model
    if asked.forceall or not everything.isdisjoint(asked.forcerun):
        return set(ARCHIVES)
    named = {os.path.relpath(each) for each in {*asked.forcerun, *(asked.targets if asked.forcetargets else ())}}
    return {archive for archive in ARCHIVES if not named.isdisjoint(manifest_files(archive))} if named else set()


def remember_forced():
    """Notes, before anything starts, what is asked for once more: jobs on other machines know no command line, and the
    wish outlives an interrupted run."""
    if workflow.touch or not asked_for_again():
        return
    name = rules.crop_archive.rule.name
    planned = {job.wildcards.archive for job in workflow.dag.needrun_jobs() if job.rule.name == name}
    try:
        for archive in planned & asked_for_again():
            staging.force(Path(OUTPUT), archive)
    except OSError as error:
        sys.exit(f"zipcrop: error: {errors.MachineError.from_os_error(error, f'noting in {OUTPUT} what to do again')}")
    except errors.ZipcropError as error:
        sys.exit(f"zipcrop: error: {error}")


@functools.cache
def leave_results_alone():
    """Keeps Snakemake from copying the outputs of `crop_archive`, from copying them back, and from deleting them where it has
    no copy (on a cluster, where two of it look after a job): the job itself puts back what was there."""
    workflow.persistence.backup_output = lambda path: None
    workflow.persistence.restore_output = lambda path: path.exists()


def run_again(file):
    """Has Snakemake run the job that makes `file`, as if it were named on the command line."""
    workflow.dag.forcefiles.add(file)


def leave_alone(outputs, inputs, rule):
    """Has Snakemake forget how the `outputs` of a `rule` came about, which are as they should be, where it would make them
    again for what it remembers: another copy of this program has made them since, or a newer one calls its jobs in another
    way."""
    remembered = workflow.persistence
    for file in map(IOFile, outputs):
        if remembered.metadata(file) and (
            remembered.params(file)
            or remembered.input(file) != sorted(inputs)
            or remembered.code(file) != rule.rule.shellcmd
        ):
            remembered.cleanup_metadata(file)


@functools.cache
def prepared_is_whole():
    """Whether the prepared model is as it was made; also if it is not there, and will be made anyhow."""
    return not WEIGHTS.exists() or not Path(prepared_path()).exists() or model.is_whole(Path(prepared_path()))


def summary_is_stale():
    """Whether the summary, or what is made from it, is there and cannot be right: it is of other archives, or has lost its
    content to a power cut."""
    summary = Path(OUTPUT, "summary.csv")
    made = [summary, *map(Path, flatten(summaries()))]
    return any(map(summary_state.is_empty, made)) or (
        summary.exists() and not PLAN.pending and not summary_state.is_of(summary, PLAN.fingerprints)
    )


def flatten(outputs):
    for each in outputs:
        if isinstance(each, str):
            yield str(each)
        else:
            yield from flatten(each)


@functools.cache
def weights_sha256():
    return model.sha256(WEIGHTS)


def prepared_path():
    """The prepared model's JSON, in a folder named after the weights' content."""
    precision = "" if config["precision"] == "f32" else f"int8-{config['image_size']}/"
    return f"models/prepared/{weights_sha256()[:16]}/{precision}model.json"


def prepared_model(wildcards):
    """What the archive's job needs: `prepared_path`, once the weights are there. Touched or copied weights rerun nothing."""
    leave_results_alone()
    archive = wildcards.archive
    if workflow.is_main_process and archive not in PLAN.pending and archive not in asked_for_again():
        # Where it is not there, it is not to be made for this one; and where it is made anew, this one does not mind.
        prepared = [prepared_path()] if WEIGHTS.exists() and Path(prepared_path()).exists() else []
        leave_alone(manifest_files(archive), prepared, rules.crop_archive)
        return [ancient(each) for each in prepared]
    if workflow.is_main_process:
        run_again(manifest_files(archive)[-1])
    if not WEIGHTS.exists():
        checkpoints.fetch_weights.get(name=WEIGHTS.stem)
    if workflow.is_main_process and not prepared_is_whole():
        run_again(prepared_path())
    return prepared_path()


def wanted_results():
    """What results are to be made with, as far as it is known before the weights are there."""
    chosen = json.loads(settings.affecting_results(config, SCHEMA))
    defaults = json.loads(settings.affecting_results(settings.complete({}, SCHEMA), SCHEMA))
    sha256 = weights_sha256() if WEIGHTS.exists() else ""
    quantized = model.quantized(Path(prepared_path())) if sha256 and config["precision"] == "int8" else ""
    return plan.Wanted(WEIGHTS.name, sha256, quantized, chosen, defaults)


def make_plan(archives):
    return plan.make(Path(OUTPUT), {archive: ARCHIVES[archive] for archive in archives}, wanted_results())


# A job on a cluster, which reads the rules again, does what it is told.
try:
    layout.check(Path(OUTPUT))
    PLAN = make_plan(ARCHIVES) if workflow.is_main_process else plan.Plan()
except errors.ZipcropError as error:
    sys.exit(f"zipcrop: error: {error}")
if PLAN.unreadable:
    print(f"zipcrop: warning: {PLAN.unreadable_in_words()}", file=sys.stderr)


# Functions that take `input` for the reason given at `untracked`.
def fingerprint(wildcards, input):
    """What the archive is known by; of one that cannot be read at the moment, what it was."""
    archive = wildcards.archive
    return PLAN.fingerprints.get(archive) or ARCHIVES[archive].fingerprint()


def zip_file(wildcards, input):
    """Where the archive is."""
    return ARCHIVES[wildcards.archive].place


def refusal(wildcards, input):
    """Why the archive is not opened; empty if it is."""
    archive = ARCHIVES[wildcards.archive]
    return archive.refusal if isinstance(archive, source.RefusedZip) else ""


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
        return CORES if archive_bytes(wildcards.archive) < LARGE else LARGE_CORES
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
