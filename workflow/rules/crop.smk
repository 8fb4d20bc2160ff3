# The main job: one archive, one job. Whether it is to be done is decided by its record (see `zipcrop.job.plan`), and not by
# what Snakemake remembers: hence `untracked`, and `agree_with_records`.
rule crop_archive:
    input:
        model=prepared_model,
    output:
        # What is there stays until the job has put new results in its place; so do crops and originals, which Snakemake
        # knows nothing of. "update" keeps it from deleting the files before the job; see also `leave_results_alone`.
        manifest=update(f"{OUTPUT}/manifests/{{archive}}.csv"),
        record=update(f"{OUTPUT}/manifests/{{archive}}.json"),
    params:
        fingerprint=fingerprint,
        zip=zip_file,
        refused=refusal,
        settings=untracked(result_settings()),
        script=script("crop_archive.py"),
        output=untracked(OUTPUT),
        speed=untracked(speed_settings()),
        gpus=gpus_of_run,
        engine_logs=untracked("logs/engine"),
    log:
        "logs/crop/{archive}.log",
    conda:
        "../../envs/zipcrop.yaml"
    threads: cores_per_archive
    resources:
        gpu=gpus_per_archive,
        mem_mb=crop_memory,
        runtime=crop_minutes,
    shell:
        # "exec" makes the job Snakemake's own child, so that it notices when Snakemake is gone. With "=", since a name may
        # begin with a dash.
        "exec python {params.script:q} --archive={wildcards.archive:q} --zip={params.zip:q} --model={input.model:q}"
        " --output={params.output:q} --fingerprint={params.fingerprint:q} --settings={params.settings:q}"
        " --speed={params.speed:q} --threads={threads} --gpus={params.gpus} --engine-logs={params.engine_logs:q}"
        " --refused={params.refused:q} --log={log:q}"
