# Downloads, datasets as stores, autoencoders, and latents.


# Where there is internet, and jobs may have none.
localrules:
    stage_data,
    download,


rule stage_data:
    input:
        staged(),


# The file itself is no output: Snakemake would delete it before every new attempt.
rule download:
    output:
        f"{DOWNLOADS}/{{dataset}}/{{file}}.json",
    log:
        f"{RESULTS}/logs/download/{{dataset}}/{{file}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/download/{{dataset}}/{{file}}.tsv"
    wildcard_constraints:
        dataset="|".join(PIXEL_DATASETS),
        file="[^/]+",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=2880,
        gpu=0,
    params:
        file=download_settings,
    script:
        "../scripts/download.py"


rule build_dataset:
    input:
        # Other mirrors make a new record, not another file.
        downloads=ancient(downloads_of),
    output:
        directory(f"{RESULTS}/data/{{dataset}}"),
    log:
        f"{RESULTS}/logs/build_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/build_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(PIXEL_DATASETS),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=0,
    params:
        source=dataset_source,
        shape=dataset_shape,
        licence=dataset_licence,
    script:
        "../scripts/build_dataset.py"


rule train_autoencoder:
    input:
        store=autoencoder_images,
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/train_autoencoder/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_autoencoder/{{autoencoder}}.tsv"
    wildcard_constraints:
        autoencoder=one_of(TRAINED_AUTOENCODERS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        settings=autoencoder_settings,
    script:
        "../scripts/train_autoencoder.py"


# Finished shards stay in `encoding/`, which is no declared output, until all are there.
rule encode_latents:
    input:
        store=pixel_store_of,
        autoencoder=autoencoder_of,
    output:
        store=directory(f"{RESULTS}/data/{{dataset}}"),
        decoding=report(
            f"{RESULTS}/features/{{dataset}}/decoding.csv",
            caption="../report/decoding.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "decoded images"},
        ),
    log:
        f"{RESULTS}/logs/encode_latents/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/encode_latents/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(LATENT_DATASETS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **gpus(encoding_gpus),
        mem_mb=8000,
        runtime=720,
    params:
        work=f"{RESULTS}/encoding/{{dataset}}",
        shape=dataset_shape,
        posterior=keeps_posterior,
        mirrored=keeps_mirrored,
    script:
        "../scripts/encode_latents.py"
