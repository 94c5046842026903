# What a reduced scale takes in place of what is published: small, made up here, never at full scale.


rule make_smoke_dataset:
    output:
        directory(f"{RESULTS}/standins/{{dataset}}"),
    log:
        f"{RESULTS}/logs/make_smoke_dataset/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.pixel_datasets),
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        settings=look.image_settings,
        images=look.standin_images,
    script:
        "../scripts/make_smoke_dataset.py"


rule make_smoke_autoencoder:
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/make_smoke_autoencoder/{{autoencoder}}.log",
    wildcard_constraints:
        autoencoder=one_of(look.published_autoencoders),
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        shapes=look.latent_shapes,
    script:
        "../scripts/make_smoke_autoencoder.py"


rule make_smoke_inception:
    output:
        look.inception,
    log:
        f"{RESULTS}/logs/make_smoke_inception/inception.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    script:
        "../scripts/make_smoke_inception.py"


rule make_smoke_pipeline:
    output:
        directory(f"{RESULTS}/pipelines/{{dataset}}"),
    log:
        f"{RESULTS}/logs/make_smoke_pipeline/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.pipelines),
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        shape=look.pipeline_shape,
    script:
        "../scripts/make_smoke_pipeline.py"
