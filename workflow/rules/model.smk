# The weights: fetched if they are official ones, checked, and converted for the engines.
checkpoint fetch_weights:
    output:
        "models/{name}.pt",
    params:
        script=script("fetch_weights.py"),
    log:
        "logs/fetch_weights/{name}.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True  # nodes of a cluster often have no network
    shell:
        "python {params.script:q} --target={output:q} --log={log:q}"


wildcard_constraints:
    sha256="[0-9a-f]{16}",


rule prepare_model:
    output:
        "models/prepared/{sha256}/model.json",
    params:
        # No input: the output's path tells their content, and their name and time do not matter.
        weights=untracked(str(WEIGHTS)),
        script=script("prepare_model.py"),
    log:
        "logs/prepare_model/{sha256}.log",
    conda:
        "../../envs/zipcrop.yaml"
    localrule: True
    shell:
        "python {params.script:q} --weights={params.weights:q} --target={output:q} --sha256={wildcards.sha256} --log={log:q}"


# Made once for all archives, also for later ones: another model would give other results.
rule quantize_model:
    input:
        # If it is made anew for the same weights, it is the same.
        model=ancient("models/prepared/{sha256}/model.json"),
    output:
        model="models/prepared/{sha256}/int8-{image_size}/model.json",
    params:
        script=script("quantize_model.py"),
        raw_zips=untracked(config["raw_zips"]),
        settings=untracked(result_settings()),
    log:
        "logs/quantize_model/{sha256}-{image_size}.log",
    conda:
        "../../envs/quantize.yaml"
    threads: all_cores
    resources:
        mem_mb=quantization_memory,
        runtime=quantization_minutes,
    shell:
        "python {params.script:q} --model={input.model:q} --target={output.model:q} --raw-zips={params.raw_zips:q}"
        " --settings={params.settings:q} --log={log:q}"
