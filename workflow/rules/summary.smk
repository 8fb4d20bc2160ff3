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
    params:
        script=script("summarize.py"),
        raw_zips=untracked(config["raw_zips"]),
        output=untracked(OUTPUT),
    log:
        "logs/summarize.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q} --log={log:q}"


rule clear_staging:
    output:
        cleared=touch("logs/staging_cleared"),
    params:
        # Another value each time: what an earlier run cleared says nothing about what is staged now.
        now=time.time_ns(),
    log:
        "logs/clear_staging.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        # The end of every run that does anything clears it.
        "echo 'an earlier run was killed; what it kept staged goes at the end of this one' > {log:q}"


rule require_no_failures:
    input:
        rules.summarize.output.summary,
    output:
        passed=touch("logs/no_failures"),
    params:
        script=script("require_no_failures.py"),
    log:
        "logs/require_no_failures.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "python {params.script:q} --summary={input:q} --log={log:q}"


rule name_unreadable:
    input:
        # Last, so that everything else is done.
        rules.summarize.output.summary,
    output:
        # Archives that cannot be read keep their results, and a run that could not read them has not done its work.
        never="logs/all_archives_read",
    params:
        number=number_of_unreadable,
    log:
        "logs/name_unreadable.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "echo 'zipcrop: error: archives that cannot be read now, though they could before: {params.number}; their results"
        " stay as they are' | tee {log:q} >&2; exit 1"


rule verify:
    params:
        script=script("verify.py"),
        output=untracked(OUTPUT),
    log:
        "logs/verify.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    threads: all_cores
    shell:
        "python {params.script:q} --output={params.output:q} --threads={threads} --log={log:q}"


rule prune:
    params:
        script=script("prune.py"),
        raw_zips=untracked(config["raw_zips"]),
        output=untracked(OUTPUT),
        upload_to=untracked(config["upload_to"]),
    log:
        "logs/prune.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q}"
        " --upload-to={params.upload_to:q} --log={log:q}"
