# The life of a run: what happens when it starts, and when it has ended.


def begin_run():
    check_names()
    lock_output()
    remember_forced()
    say_why()


def end_run(failed=False):
    sweep_output()
    if failed:
        name_unfinished()


@functools.cache
def handle_module():
    """Makes Snakemake run these handlers before those of the main Snakefile. By itself it ignores the handlers of modules,
    and nothing would keep a second run out of the output folder. To be called when all Snakefiles have been read, since
    each may set the handlers anew."""
    for name, ours in (("_onstart", begin_run), ("_onsuccess", end_run), ("_onerror", lambda: end_run(failed=True))):
        setattr(workflow, name, both(ours, getattr(workflow, name)))


def both(ours, theirs):
    def handler(log):
        ours()
        theirs(log)

    return handler


def check_names():
    """Refuses archives whose names would not reach their jobs on a cluster: Snakemake joins names with commas and puts them
    into a shell command, in quotes that depend on the name, and Slurm replaces % in the path of a log."""
    for archive in ARCHIVES if on_cluster() else ():
        if re.search(r"""[,"\\%]|'.*[$`]|[$`].*'|^'|'$""", archive) or not archive.isprintable():
            stop(
                f'archive {archive!r} cannot be done on a cluster: its name has one of , " \\ % or an unprintable character'
                " in it, or a ' at an end or beside $ or `; rename it, or run on one machine"
            )


def lock_output():
    """Keeps other runs out of the output folder until this process ends. Snakemake's own lock would outlive a kill -9."""
    global output_lock
    try:
        output_lock = lock.acquire(layout.lock(Path(OUTPUT)))
    except lock.LockedError as error:
        stop(f"another run ({error}) is at work in {OUTPUT}; wait until it has ended, or end it, and run again")
    except OSError as error:
        stop(errors.MachineError.from_os_error(error, f"opening the folder {OUTPUT}"))
    if not lock.is_held(output_lock):
        print(
            f"zipcrop: warning: the file system of {OUTPUT} has no locks; see to it that no second run works there",
            file=sys.stderr,
        )


def remember_forced():
    """Notes, before anything starts, which archives are forced: jobs on other machines do not know the command line, and the
    wish outlives an interrupted run."""
    if workflow.touch or not asked_for_again():
        return
    name = rules.crop_archive.rule.name
    planned = {job.wildcards.archive for job in workflow.dag.needrun_jobs() if job.rule.name == name}
    try:
        for archive in planned & asked_for_again():
            staged.force(Path(OUTPUT), archive)
    except OSError as error:
        stop(errors.MachineError.from_os_error(error, f"noting in {OUTPUT} what to do again"))
    except errors.ZipcropError as error:
        stop(error)


@functools.cache
def say_why():
    """Says in one line why archives that were done are done again."""
    if why := PLAN.in_words():
        print(f"zipcrop: {why}", file=sys.stderr)


def sweep_output():
    """Removes what killed jobs have left staged, waits until everything is on the disk, and removes the lock."""
    try:
        staged.sweep(Path(OUTPUT))
        files.sync(Path(OUTPUT))
        layout.lock(Path(OUTPUT)).unlink()
    except (OSError, errors.ZipcropError):
        pass  # the end of the next run tries again


def name_unfinished():
    """Calls `show_unfinished`, which fails where there is no terminal any more."""
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
        print(f"  {archive}: {why_unfinished(archive, left)}", file=sys.stderr)
    if len(unfinished) > 20:
        print(f"  … and {len(unfinished) - 20} more", file=sys.stderr)


def why_unfinished(archive, left):
    if archive in left.unreadable:
        return f"cannot be read ({left.unreadable[archive]}); its results are those of before"
    return progress.last_words(Path("logs", "crop", f"{archive}.log"), archive) or "not begun, or killed"
