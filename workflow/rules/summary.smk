# What came out: the summary of all archives, the check that `strict` asks for, and clearing away.
rule summarize:
    input:
        expand("{output}/manifests/{archive}.{kind}", output=OUTPUT, archive=ARCHIVES, kind=["csv", "json"]),
    output:
        summary=report(f"{OUTPUT}/summary.csv", caption="../report/summary.rst", category="Summary"),
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
        "python {params.script:q} --raw-zips {params.raw_zips:q} --output {params.output:q} 2>&1 | tee {log:q}"


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
        "python {params.script:q} {input:q} 2>&1 | tee {log:q}"


rule prune:
    params:
        script=script("prune.py"),
        raw_zips=untracked(config["raw_zips"]),
        output=untracked(OUTPUT),
    log:
        "logs/prune.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "python {params.script:q} --raw-zips {params.raw_zips:q} --output {params.output:q} 2>&1 | tee {log:q}"
