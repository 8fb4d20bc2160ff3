# What `snakemake --report` shows: pictures and pages, made from manifests and crops. Their settings rerun no archive.
PLOTS = {
    "outcomes": "What became of the members, by archive",
    "confidence": "How sure the detector was",
    "crops": "Height and shape of the crops",
    "people": "People per photo",
    "positions": "Where in the photo the people are",
    "throughput": "Speed, by archive",
}
LISTS = {
    "almost": "Almost people",
    "unsure": "Least sure people",
    "small": "Smallest crops",
    "extreme": "Most extreme shapes",
    "crowds": "Very many people in one photo",
    "duplicates": "Duplicates",
    "failures": "Failures",
}
# The limits that the archives were cropped with. Changing them does all archives again, and the report after them.
picture_limits = untracked("--seconds={seconds} --megapixels={megapixels}".format(**config["limits"]))


rule survey:
    input:
        # It is made anew whenever a manifest is, and stands for all of them: thousands of inputs would slow Snakemake down.
        summary=rules.summarize.output.summary,
    output:
        survey=SURVEY,
    params:
        version=REPORT_VERSION,
        list_length=config["report"]["list_length"],
        failures_listed=config["report"]["failures_listed"],
        script=script("survey_manifests.py"),
        output=untracked(OUTPUT),
    log:
        "logs/survey.log",
    conda:
        "../../envs/zipcrop.yaml"
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --output={params.output:q} --summary={input.summary:q} --survey={output.survey:q}"
        " --list-length={params.list_length} --failures-listed={params.failures_listed} --log={log:q}"


rule plot:
    input:
        survey=rules.survey.output.survey,
    output:
        *(shown(name, "plots", "svg", "2 Plots", label) for name, label in PLOTS.items()),
    params:
        script=script("draw_plots.py"),
        folder=untracked(f"{OUTPUT}/summary/plots"),
    log:
        "logs/plot.log",
    conda:
        "../../envs/zipcrop.yaml"
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --survey={input.survey:q} --folder={params.folder:q} --log={log:q}"


rule contact_sheets:
    input:
        survey=rules.survey.output.survey,
    output:
        crops=sheets_of("crops", "Crops"),
        photos=sheets_of("photos", "Photos without people"),
    params:
        sampling=json.dumps(
            {key: config["report"][key] for key in ("seed", "sheets", "crops_per_sheet", "photos_per_sheet")}
        ),
        script=script("draw_sheets.py"),
        output=untracked(OUTPUT),
        limits=picture_limits,
    log:
        "logs/contact_sheets.log",
    conda:
        "../../envs/zipcrop.yaml"
    threads: half_of_the_cores
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --survey={input.survey:q} --output={params.output:q} --crops={output.crops:q}"
        " --photos={output.photos:q} --sampling={params.sampling:q} --threads={threads} {params.limits}"
        " --log={log:q}"


rule pages:
    input:
        survey=rules.survey.output.survey,
    output:
        shown("archives", "pages", "html", "1 Archives", "All archives, to sort and to search"),
        *(shown(name, "pages", "html", "4 To look at twice", label) for name, label in LISTS.items()),
        shown("provenance", "pages", "html", "5 Provenance", "Weights, settings, versions, fingerprints"),
    params:
        script=script("write_pages.py"),
        output=untracked(OUTPUT),
        limits=picture_limits,
        folder=untracked(f"{OUTPUT}/summary/pages"),
    log:
        "logs/pages.log",
    conda:
        "../../envs/zipcrop.yaml"
    threads: half_of_the_cores
    resources:
        mem_mb=report_memory,
        runtime=report_minutes,
    shell:
        "python {params.script:q} --survey={input.survey:q} --output={params.output:q} --folder={params.folder:q}"
        " --threads={threads} {params.limits} --log={log:q}"
