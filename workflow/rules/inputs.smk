# Input functions, which change nothing. They are called once the archives are known: see records.smk.


def targets(wildcards):
    """What a run makes."""
    if not HAS_AGREED:
        # Nothing would be done, without a word.
        stop("this release of Snakemake works in another way than zipcrop needs; use the one of envs/requirements.txt")
    wanted = summaries(wildcards)
    if not WEIGHTS.exists() and PLAN.pending:
        # Snakemake makes a missing intermediate file only if something else is out of date; but whether the archives
        # are is known only once the weights are there.
        wanted.append(str(WEIGHTS))
    if WAS_KILLED:
        # A run that was killed could not sweep, and a run with nothing to do would not do so either.
        wanted.append(rules.clear_staging.output.cleared)
    if PLAN.unreadable:
        wanted.append(rules.name_unreadable.output.never)
    if config["upload_to"] != "none":
        wanted += [*expand(rules.upload_archive.output.done, archive=ARCHIVES), rules.upload_summary.output.done]
    if config["strict"]:
        wanted.append(rules.require_no_failures.output.passed)
    return wanted


def summaries(wildcards):
    """What a run makes of all archives together."""
    wanted = [rules.summarize.output.summary, *rules.plot.output, *rules.contact_sheets.output, *rules.pages.output]
    if config["exports"]["coco"]:
        wanted.append(rules.export_coco.output.annotations)
    if config["exports"]["yolo"]:
        wanted.append(rules.export_yolo.output.labels)
    return list(map(str, wanted))


def all_manifests(wildcards):
    """Thousands of paths, which the jobs of single archives on a cluster need not know."""
    return expand("{output}/manifests/{archive}.{kind}", output=OUTPUT, archive=ARCHIVES, kind=["csv", "json"])


def prepared_model(wildcards):
    """The model that the archive's job needs. Touched or copied weights rerun nothing."""
    if workflow.is_main_process and not is_to_be_done(wildcards.archive):
        # A missing model is not made for an archive that is done, and one that is made anew reruns nothing.
        return [ancient(each) for each in existing_model()]
    if not WEIGHTS.exists():
        checkpoints.fetch_weights.get(name=WEIGHTS.stem)
    return prepared_path()
