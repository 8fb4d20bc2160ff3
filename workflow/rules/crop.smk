# The main job: one archive, one job.
rule crop_archive:
    input:
        # Its folder is called after the weights' content: other weights are another input.
        model=prepared_model,
    output:
        person=directory(f"{OUTPUT}/Person/{{archive}}"),
        no_person=directory(f"{OUTPUT}/No_Person/{{archive}}"),
        manifest=f"{OUTPUT}/manifests/{{archive}}.csv",
        record=f"{OUTPUT}/manifests/{{archive}}.json",
    log:
        "logs/crop/{archive}.log",
    group:
        crop_group
    conda:
        "../../envs/zipcrop.yaml"
    threads: cores_per_archive
    resources:
        gpu=gpus_per_archive,
        mem_mb=crop_memory,
        runtime=crop_minutes,
        in_turn=in_turn,
    params:
        # The archive is known by its content alone. As an input, Snakemake would go by its time and its path.
        fingerprint=fingerprint,
        zip=zip_file,
        settings=settings.affecting_results(config, SCHEMA),
        results_version=RESULTS_VERSION,
        script=script("crop_archive.py"),
        output=untracked(OUTPUT),
        speed=untracked(speed_settings()),
    shell:
        # "exec" makes the job Snakemake's own child, so that it notices when Snakemake is gone. With "=", since a name may
        # begin with a dash.
        "exec python {params.script:q} --archive={wildcards.archive:q} --zip={params.zip:q} --model={input.model:q}"
        " --output={params.output:q} --fingerprint={params.fingerprint:q} --settings={params.settings:q}"
        " --speed={params.speed:q} --threads={threads} --log={log:q}"
