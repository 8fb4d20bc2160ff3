# What came out: the summary of all archives, the check that `strict` asks for, and clearing away.
rule summarize:
    input:
        expand("{output}/manifests/{archive}.{kind}", output=OUTPUT, archive=ARCHIVES, kind=["csv", "json"]),
    output:
        summary=report(f"{OUTPUT}/summary.csv", caption="../report/summary.rst", category="Summary"),
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
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q} 2>&1 | tee {log:q}"


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
        "python {params.script:q} {input:q} 2>&1 | tee {log:q}"


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
    shell:
        "python {params.script:q} --raw-zips={params.raw_zips:q} --output={params.output:q} 2>&1 | tee {log:q}"
