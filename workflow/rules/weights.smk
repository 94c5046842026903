# Published weights, fetched once. A reduced scale makes up stand-ins for them.


# Where there is internet, and jobs may have none.
localrules:
    fetch_autoencoder,
    fetch_inception,
    fetch_pipeline,


rule fetch_autoencoder:
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/fetch_autoencoder/{{autoencoder}}.log",
    wildcard_constraints:
        autoencoder=one_of(look.published_autoencoders),
    # What is wrong with it should be known before a large dataset is built.
    priority: 1
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        settings=look.autoencoder_settings,
        shapes=look.latent_shapes,
    script:
        "../scripts/fetch_autoencoder.py"


rule fetch_inception:
    output:
        look.inception,
    log:
        f"{RESULTS}/logs/fetch_inception/inception.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=120,
        gpu=0,
    params:
        expected=CONFIG.inception_sha256,
    script:
        "../scripts/fetch_inception.py"


rule fetch_pipeline:
    output:
        directory(f"{RESULTS}/pipelines/{{dataset}}"),
    log:
        f"{RESULTS}/logs/fetch_pipeline/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.pipelines),
    priority: 1
    conda:
        ENVIRONMENT
    resources:
        mem_mb=8000,
        runtime=720,
        gpu=0,
    params:
        settings=look.pipeline_published,
        shape=look.pipeline_shape,
    script:
        "../scripts/fetch_pipeline.py"
