# What is to be done. By itself, Snakemake decides by times and by what it remembers in .snakemake/ of this copy. But an archive
# is done if its record says so, whichever copy made it: the plan goes by the records, and Snakemake is brought to agree.
ARCHIVES = {}
PLAN = plan.Plan()
WAS_KILLED = False
HAS_AGREED = False


def before_dag(function):
    """Calls `function` each time before Snakemake decides what to run: it has read all rules and its command line by then, and
    has called no input function yet. There is no handler for that; `onstart` comes after the decision."""
    decide = workflow._build_dag

    def call_and_decide():
        function()
        decide()

    workflow._build_dag = call_and_decide


def agree_with_records():
    """Finds the archives, plans what is to be done, and brings Snakemake to agree. Jobs on other machines plan nothing: they do
    as they are told."""
    global HAS_AGREED
    HAS_AGREED = True
    try:
        layout.check(Path(OUTPUT))
        look_around()
    except errors.ZipcropError as error:
        stop(error)
    leave_results_alone()
    if not workflow.is_main_process:
        return
    if IS_MODULE:
        handle_module()
    if PLAN.unreadable:
        print(f"zipcrop: warning: {PLAN.unreadable_in_words()}", file=sys.stderr)
    if workflow.dryrun:
        say_why()
    config["run"] = caption.figures(Path(SURVEY))  # which captions quote
    agree_on_archives()
    agree_on_models()
    agree_on_summary()


def look_around():
    """Finds out what there is and what is to be done. Raises ZipcropError."""
    global ARCHIVES, PLAN, WAS_KILLED
    ARCHIVES = catalog.find_archives(config["raw_zips"])
    if workflow.is_main_process:
        PLAN = make_plan(ARCHIVES)
        WAS_KILLED = staged.has_leftovers(Path(OUTPUT))


def make_plan(archives):
    return plan.make(Path(OUTPUT), {archive: ARCHIVES[archive] for archive in archives}, wanted_results())


def wanted_results():
    """What results are to be made with, as far as it is known before the weights are there."""
    chosen = configuration.result_settings(config)
    defaults = configuration.result_settings(configuration.complete({}, SCHEMA))
    sha256 = weights_sha256() if WEIGHTS.exists() else ""
    quantized = model.quantized(Path(prepared_path())) if sha256 and config["precision"] == "int8" else ""
    return plan.Wanted(WEIGHTS.name, sha256, quantized, chosen, defaults)


def leave_results_alone():
    """Keeps Snakemake from copying the outputs of `crop_archive`, from copying them back, and from deleting them where it has
    no copy (on a cluster, where two of it look after a job): the job itself puts back what was there."""
    manifests, remembered = Path(OUTPUT, "manifests"), workflow.persistence
    back_up, restore = remembered.backup_output, remembered.restore_output
    remembered.backup_output = lambda path: None if manifests in path.parents else back_up(path)
    remembered.restore_output = lambda path: path.exists() if manifests in path.parents else restore(path)


def agree_on_archives():
    prepared = existing_model()
    for archive in ARCHIVES:
        if is_to_be_done(archive):
            run_again(manifest_files(archive)[-1])
        else:
            leave_alone(manifest_files(archive), prepared, rules.crop_archive)


def agree_on_models():
    """Has damaged models made anew, and keeps the others, even if another release made them with another command."""
    for each in damaged_models():
        run_again(each)
    if WEIGHTS.exists():
        leave_alone([prepared_path("f32")], [], rules.prepare_model)
        if config["precision"] == "int8":
            leave_alone([prepared_path()], [prepared_path("f32")], rules.quantize_model)


def agree_on_summary():
    summary = f"{OUTPUT}/summary.csv"
    if summary_is_stale():
        run_again(summary)
    elif not PLAN.pending:
        leave_alone([summary], all_manifests(None), rules.summarize)


def run_again(file):
    """Makes Snakemake run the job that makes `file`, if it needs that file, as if the command line forced it."""
    workflow.dag.forcefiles.add(file)


def leave_alone(outputs, inputs, rule):
    """Makes Snakemake forget how the `outputs` of a `rule` came about where it would make them again for that. They are as they
    should be: another copy of this program has made them since, or another release calls its jobs in another way."""
    remembered = workflow.persistence
    for file in map(IOFile, outputs):
        if remembered.metadata(file) and (
            remembered.params(file)
            or remembered.input(file) != sorted(inputs)
            or remembered.code(file) != rule.rule.shellcmd
        ):
            remembered.cleanup_metadata(file)


@functools.cache
def asked_for_again():
    """The archives that the command line forces, whatever is there."""
    asked = workflow.dag_settings
    everything = {rules.crop_archive.rule.name}
    if config["precision"] == "int8":
        everything.add(rules.quantize_model.rule.name)  # another model
    if asked.forceall or not everything.isdisjoint(asked.forcerun):
        return set(ARCHIVES)
    named = {os.path.relpath(each) for each in {*asked.forcerun, *(asked.targets if asked.forcetargets else ())}}
    return {archive for archive in ARCHIVES if not named.isdisjoint(manifest_files(archive))} if named else set()


def is_to_be_done(archive):
    return archive in PLAN.pending or archive in asked_for_again()


def manifest_files(archive):
    """The outputs of `crop_archive` for that archive."""
    return expand(list(rules.crop_archive.output), archive=archive)


@functools.cache
def weights_sha256():
    return model.sha256(WEIGHTS)


def model_path(weights, precision):
    """A prepared model's JSON, in a folder named after (the beginning of) the SHA-256 of the weights."""
    return f"models/prepared/{weights}/{'' if precision == 'f32' else 'int8-%d/' % config['image_size']}model.json"


def prepared_path(precision=config["precision"]):
    return model_path(weights_sha256()[:16], precision)


def existing_model():
    """The prepared model, or nothing."""
    return [prepared_path()] if WEIGHTS.exists() and Path(prepared_path()).exists() else []


def damaged_models():
    """Prepared models that are needed and are not as they were made. Which one is needed is not known before the weights
    are there."""
    if not any(map(is_to_be_done, ARCHIVES)):
        return []
    found = existing_model() if WEIGHTS.exists() else map(str, Path().glob(model_path("*", config["precision"])))
    return [each for each in found if not model.is_whole(Path(each))]


def summary_is_stale():
    """Whether the summary, or what is made from it, is there and cannot be right: it is of other archives, or has lost its
    content to a power cut."""
    summary = Path(OUTPUT, "summary.csv")
    if any(map(summary_state.is_empty, [summary, *map(Path, summaries(None))])):
        return True
    return summary.exists() and not PLAN.pending and not summary_state.is_of(summary, PLAN.fingerprints)


before_dag(agree_with_records)
