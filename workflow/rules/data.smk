# Downloads, datasets as stores, autoencoders, latents, and the features of real images.


# Where there is internet, and jobs may have none.
localrules:
    stage_data,
    download,


rule stage_data:
    input:
        look.staged(),


# The file itself is no output: Snakemake would delete it before every new attempt.
rule download:
    output:
        f"{DOWNLOADS}/{{dataset}}/{{file}}.json",
    log:
        f"{RESULTS}/logs/download/{{dataset}}/{{file}}.log",
    wildcard_constraints:
        dataset=one_of(look.pixel_datasets),
        file="[^/]+",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=2880,
        gpu=0,
    params:
        checksum=look.checksum,
    script:
        "../scripts/download.py"


rule build_dataset:
    input:
        # Other mirrors make a new record, not another file.
        downloads=ancient(look.downloads),
    output:
        directory(f"{RESULTS}/data/{{dataset}}"),
    log:
        f"{RESULTS}/logs/build_dataset/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.pixel_datasets),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=0,
    params:
        settings=look.image_settings,
    script:
        "../scripts/build_dataset.py"


use rule build_dataset as build_held_out with:
    input:
        downloads=ancient(look.held_out_downloads),
        training=look.store,
    output:
        directory(f"{RESULTS}/held_out/{{dataset}}"),
    log:
        f"{RESULTS}/logs/build_held_out/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.with_held_out),
    params:
        settings=look.held_out_settings,


rule train_autoencoder:
    input:
        store=look.autoencoder_images,
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/train_autoencoder/{{autoencoder}}.log",
    wildcard_constraints:
        autoencoder=one_of(look.trained_autoencoders),
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        settings=look.autoencoder_settings,
    script:
        "../scripts/train_autoencoder.py"


# Finished shards stay in `encoding/`, which is no declared output, until all are there.
rule encode_latents:
    input:
        store=look.pixel_store,
        autoencoder=look.autoencoder,
    output:
        store=directory(f"{RESULTS}/data/{{dataset}}"),
        decoding=f"{RESULTS}/features/{{dataset}}/decoding.csv",
    log:
        f"{RESULTS}/logs/encode_latents/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.latent_datasets),
    conda:
        ENVIRONMENT
    resources:
        **look.gpus(look.encoding_gpus),
        mem_mb=8000,
        runtime=720,
    params:
        settings=look.encoding,
        work=f"{RESULTS}/encoding/{{dataset}}",
    script:
        "../scripts/encode_latents.py"


rule train_classifier:
    input:
        store=look.store,
        held_out=look.held_out_store,
    output:
        directory(f"{RESULTS}/classifiers/{{dataset}}"),
    log:
        f"{RESULTS}/logs/train_classifier/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(CONFIG.classifiers),
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        settings=look.classifier_settings,
    script:
        "../scripts/train_classifier.py"


rule compute_reference:
    input:
        unpack(look.weights),
        store=look.part_store,
        other=look.other_store,
    output:
        features=f"{RESULTS}/features/{{dataset}}/{{part}}/{{extractor}}.npz",
        floor=f"{RESULTS}/features/{{dataset}}/{{part}}/{{extractor}}.floor.csv",
    log:
        f"{RESULTS}/logs/compute_reference/{{dataset}}/{{part}}/{{extractor}}.log",
    wildcard_constraints:
        part="|".join(PARTS),
    conda:
        ENVIRONMENT
    threads: look.extractor_threads
    resources:
        **look.gpus(look.extractor_gpus),
        mem_mb=16000,
        runtime=240,
    params:
        extractor=look.extractor_settings,
        n_samples=look.images_of_runs,
    script:
        "../scripts/compute_reference.py"


rule measure_reconstruction:
    input:
        unpack(look.weights),
        store=look.pixel_store,
        latents=look.store,
        autoencoder=look.autoencoder,
        reference=look.training_reference,
    output:
        f"{RESULTS}/features/{{dataset}}/{{extractor}}.reconstruction.csv",
    log:
        f"{RESULTS}/logs/measure_reconstruction/{{dataset}}/{{extractor}}.log",
    wildcard_constraints:
        dataset=one_of(look.latent_datasets),
    conda:
        ENVIRONMENT
    threads: look.extractor_threads
    resources:
        **look.gpus(look.extractor_gpus),
        mem_mb=16000,
        runtime=240,
    params:
        extractor=look.extractor_settings,
    script:
        "../scripts/measure_reconstruction.py"


rule compare_held_out:
    input:
        store=look.store,
        held_out=look.held_out_store,
        reference=look.references,
    output:
        f"{RESULTS}/features/{{dataset}}/held_out.csv",
    log:
        f"{RESULTS}/logs/compare_held_out/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.with_held_out),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        features=look.extractors,
    script:
        "../scripts/compare_held_out.py"
