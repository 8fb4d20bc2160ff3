from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/cluster.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/crop.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/upload.smk"


onstart:
    check_names()
    lock_output()
    remember_forced()
    say_why()


onsuccess:
    sweep_output()


onerror:
    sweep_output()
    name_unfinished()


rule all:
    default_target: True
    input:
        targets(),
