# What came out: the summary of all archives, the check that `strict` asks for, and clearing away.
rule summarize:
    input:
        all_manifests,
    output:
        summary=report(
            f"{OUTPUT}/summary.csv",
            caption="../report/archives.rst",
            category="1 Archives",
            labels={"shows": "summary.csv, to download"},
        ),
    log:
        "logs/summarize.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("summarize.py"),
        raw_zips=untracked(config["raw_zips"]),
        output=untracked(OUTPUT),
    shell:
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q} --log={log:q}"


rule clear_staging:
    output:
        cleared=touch("logs/staging_cleared"),
    log:
        "logs/clear_staging.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        # Never as before: the output of a former time is no reason to leave what is staged now.
        now=time.time_ns(),
    shell:
        # The end of every run that does anything clears it.
        "echo 'an earlier run was killed; what it kept staged goes at the end of this one' > {log:q}"


rule require_no_failures:
    input:
        rules.summarize.output.summary,
    output:
        passed=touch("logs/no_failures"),
    log:
        "logs/require_no_failures.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("require_no_failures.py"),
    shell:
        "python {params.script:q} --summary={input:q} --log={log:q}"


rule name_unreadable:
    input:
        # Last, so that everything else is done.
        rules.summarize.output.summary,
    output:
        # Archives that cannot be read keep their results, and a run that could not read them has not done its work.
        never="logs/all_archives_read",
    log:
        "logs/name_unreadable.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        number=untracked(len(PLAN.unreadable)),
    shell:
        "echo 'zipcrop: error: archives that cannot be read now, though they could before: {params.number}; their results"
        " stay as they are' | tee {log:q} >&2; exit 1"


rule verify:
    log:
        "logs/verify.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    threads: all_cores
    params:
        script=script("verify.py"),
        output=untracked(OUTPUT),
    shell:
        "python {params.script:q} --output={params.output:q} --threads={threads} --log={log:q}"


rule prune:
    log:
        "logs/prune.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("prune.py"),
        raw_zips=untracked(config["raw_zips"]),
        output=untracked(OUTPUT),
        upload_to=untracked(config["upload_to"]),
    shell:
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q}"
        " --upload-to={params.upload_to:q} --log={log:q}"
