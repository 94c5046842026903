# Published weights, fetched once. A reduced scale makes up stand-ins for them.


# Where there is internet, and jobs may have none.
localrules:
    fetch_autoencoder,
    fetch_inception,


rule fetch_autoencoder:
    output:
        directory(f"{RESULTS}/autoencoders/{{autoencoder}}"),
    log:
        f"{RESULTS}/logs/fetch_autoencoder/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_autoencoder/{{autoencoder}}.tsv"
    wildcard_constraints:
        autoencoder=one_of(PUBLISHED_AUTOENCODERS),
    # What is wrong with it should be known before a large dataset is built.
    priority: 1
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        settings=autoencoder_settings,
        shapes=fetched_shapes,
    script:
        "../scripts/fetch_autoencoder.py"


rule fetch_inception:
    output:
        INCEPTION,
    log:
        f"{RESULTS}/logs/fetch_inception/inception.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch_inception/inception.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
        gpu=0,
    params:
        settings=inception_settings,
    script:
        "../scripts/fetch_inception.py"
