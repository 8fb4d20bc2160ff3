# The weights: fetched if they are official ones, checked, and converted for the engines.
checkpoint fetch_weights:
    output:
        "models/{name}.pt",
    log:
        "logs/fetch_weights/{name}.log",
    conda:
        "../../envs/zipcrop.yaml"
    params:
        script=script("fetch_weights.py"),
    shell:
        "python {params.script:q} {output:q} > {log:q} 2>&1 || {{ tail -n 1 {log:q} >&2; exit 1; }}"


rule prepare_model:
    output:
        "models/prepared/{sha256}/model.json",
    log:
        "logs/prepare_model/{sha256}.log",
    conda:
        "../../envs/zipcrop.yaml"
    params:
        # Not an input: whatever these weights are called and whenever they came, their content is in the output's path.
        weights=untracked(str(WEIGHTS)),
        script=script("prepare_model.py"),
    shell:
        "python {params.script:q} {params.weights:q} {output:q} > {log:q} 2>&1 || {{ tail -n 1 {log:q} >&2; exit 1; }}"
