# The main job: one archive, one job.
import json


def fingerprint(wildcards):
    return catalog.fingerprint(ARCHIVES[wildcards.archive])


def zip_file(wildcards, input):
    return ARCHIVES[wildcards.archive]


def cores_per_archive(wildcards):
    """An even share of the cores for each archive that may run at once."""
    limits = workflow.global_resources
    at_once = limits["gpu"].value if "gpu" in limits else 1
    return max(1, (workflow.cores or 1) // max(1, at_once))


rule crop_archive:
    input:
        # Not newer or older counts, but the name: its folder is called after the weights' content.
        model=ancient(prepared_model),
    output:
        person=directory(f"{OUTPUT}/Person/{{archive}}"),
        no_person=directory(f"{OUTPUT}/No_Person/{{archive}}"),
        manifest=f"{OUTPUT}/manifests/{{archive}}.csv",
        record=f"{OUTPUT}/manifests/{{archive}}.json",
    params:
        # The archive is known by its content alone. As an input, Snakemake would go by its time and its path.
        fingerprint=fingerprint,
        zip=zip_file,
        settings=settings.affecting_results(config, SCHEMA),
        results_version=RESULTS_VERSION,
        script=script("crop_archive.py"),
        output=untracked(OUTPUT),
        speed=untracked(json.dumps({key: config[key] for key in ("device", "engine", "batch", "workers")})),
    log:
        "logs/crop/{archive}.log",
    conda:
        "../../envs/zipcrop.yaml"
    threads: cores_per_archive
    resources:
        gpu=1,
    shell:
        "python {params.script:q} --archive {wildcards.archive:q} --zip {params.zip:q} --model {input.model:q}"
        " --output {params.output:q} --fingerprint {params.fingerprint} --settings {params.settings:q}"
        " --speed {params.speed:q} --threads {threads} --log {log:q}"
