# With `upload_to`, results go into an object store, too. They are no storage outputs, since Snakemake deletes a bucket that it
# has emptied, and shows files there before all of an archive's are complete.
limit_uploads()


rule upload_archive:
    input:
        rules.crop_archive.output,
    output:
        done=f"{OUTPUT}/.uploaded/{{archive}}.json",
    params:
        url=config["upload_to"].rstrip("/"),
        script=script("upload_results.py"),
        output=untracked(OUTPUT),
    log:
        "logs/upload/{archive}.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    # It waits for the network, while the next archive is done on all cores.
    threads: 0
    resources:
        upload=1,
    shell:
        "python {params.script:q} --archive={wildcards.archive:q} --output={params.output:q} --url={params.url:q}"
        " --done={output.done:q} --log={log:q}"


rule upload_summary:
    input:
        summaries,
    output:
        done=f"{OUTPUT}/.uploaded.json",
    params:
        url=config["upload_to"].rstrip("/"),
        script=script("upload_results.py"),
        output=untracked(OUTPUT),
    log:
        "logs/upload_summary.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    threads: 0
    resources:
        upload=1,
    shell:
        "python {params.script:q} --output={params.output:q} --url={params.url:q} --done={output.done:q} --log={log:q}"
