# What other tools open: all people in COCO's format and, on request, as YOLO labels.
rule export_coco:
    input:
        # It is made anew whenever a manifest is, and stands for all of them: thousands of inputs would slow Snakemake down.
        summary=rules.summarize.output.summary,
    output:
        annotations=f"{OUTPUT}/summary/annotations.coco.json",
    params:
        version=EXPORTS_VERSION,
        script=script("export_coco.py"),
        output=untracked(OUTPUT),
    log:
        "logs/export_coco.log",
    conda:
        "../../envs/zipcrop.yaml"
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --output={params.output:q} --log={log:q}"


rule export_yolo:
    input:
        # It is made anew whenever a manifest is, and stands for all of them: thousands of inputs would slow Snakemake down.
        summary=rules.summarize.output.summary,
    output:
        labels=directory(f"{OUTPUT}/summary/yolo"),
    params:
        version=EXPORTS_VERSION,
        script=script("export_yolo.py"),
        output=untracked(OUTPUT),
    log:
        "logs/export_yolo.log",
    conda:
        "../../envs/zipcrop.yaml"
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --output={params.output:q} --log={log:q}"
