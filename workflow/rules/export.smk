# What other tools open: all people in COCO's format and, on request, as YOLO labels.
rule export_coco:
    input:
        rules.summarize.input,
        summary=rules.summarize.output.summary,
    output:
        annotations=f"{OUTPUT}/summary/annotations.coco.json",
    log:
        "logs/export_coco.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("export_coco.py"),
        output=untracked(OUTPUT),
    shell:
        # Shown afterwards, and in vain if the terminal is gone.
        "python {params.script:q} --output={params.output:q} > {log:q} 2>&1 ||"
        " {{ cat {log:q} >&2; exit 1; }}; cat {log:q} || true"


rule export_yolo:
    input:
        rules.summarize.input,
        summary=rules.summarize.output.summary,
    output:
        labels=directory(f"{OUTPUT}/summary/yolo"),
    log:
        "logs/export_yolo.log",
    localrule: True
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("export_yolo.py"),
        output=untracked(OUTPUT),
    shell:
        # Shown afterwards, and in vain if the terminal is gone.
        "python {params.script:q} --output={params.output:q} > {log:q} 2>&1 ||"
        " {{ cat {log:q} >&2; exit 1; }}; cat {log:q} || true"
