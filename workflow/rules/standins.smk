# What a reduced scale takes in place of what is published: small, made up here, never at full scale.


rule make_smoke_dataset:
    output:
        directory(f"{RESULTS}/standins/{{dataset}}"),
    log:
        f"{RESULTS}/logs/make_smoke_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_smoke_dataset/{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(PIXEL_DATASETS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        source=dataset_source,
        shape=dataset_shape,
        images=standin_images,
    script:
        "../scripts/make_smoke_dataset.py"


rule make_smoke_autoencoder:
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/make_smoke_autoencoder/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_smoke_autoencoder/{{autoencoder}}.tsv"
    wildcard_constraints:
        autoencoder=one_of(PUBLISHED_AUTOENCODERS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        shapes=standin_shapes,
    script:
        "../scripts/make_smoke_autoencoder.py"


rule make_smoke_inception:
    output:
        INCEPTION,
    log:
        f"{RESULTS}/logs/make_smoke_inception/inception.log",
    benchmark:
        f"{RESULTS}/benchmarks/make_smoke_inception/inception.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/make_smoke_inception.py"
