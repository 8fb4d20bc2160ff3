from snakemake.utils import min_version

min_version("9.27.1")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/records.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/crop.smk"
include: "workflow/rules/summary.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/upload.smk"


if not IS_MODULE:

    report: "workflow/report/workflow.rst"


onstart:
    begin_run()


onsuccess:
    end_run()


onerror:
    end_run(failed=True)


rule all:
    input:
        targets,
