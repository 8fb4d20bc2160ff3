# The weights: fetched if they are official ones, checked, and converted for the engines.
WEIGHTS = model.weights_path(config["model"])


def prepared_model(wildcards):
    """The prepared model's JSON, in a folder named after the weights' content: touched or copied weights rerun nothing,
    other ones rerun everything."""
    if not WEIGHTS.exists():
        checkpoints.fetch_weights.get(name=WEIGHTS.stem)
    return f"models/prepared/{model.sha256(WEIGHTS)[:16]}/model.json"


checkpoint fetch_weights:
    output:
        "models/{name}.pt",
    params:
        script=script("fetch_weights.py"),
    log:
        "logs/fetch_weights/{name}.log",
    conda:
        "../../envs/zipcrop.yaml"
    shell:
        "python {params.script:q} {output:q} > {log:q} 2>&1 || {{ tail -n 1 {log:q} >&2; exit 1; }}"


rule prepare_model:
    input:
        ancient(str(WEIGHTS)),
    output:
        "models/prepared/{sha256}/model.json",
    params:
        script=script("prepare_model.py"),
    log:
        "logs/prepare_model/{sha256}.log",
    conda:
        "../../envs/zipcrop.yaml"
    shell:
        "python {params.script:q} {input:q} {output:q} > {log:q} 2>&1 || {{ tail -n 1 {log:q} >&2; exit 1; }}"
