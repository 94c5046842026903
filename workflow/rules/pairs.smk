# Noise-sample pairs, and what is measured of them.


rule draw_pairs:
    input:
        store=store_of,
    output:
        f"{RESULTS}/pairs/{{dataset}}.npz",
    log:
        f"{RESULTS}/logs/draw_pairs/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_pairs/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        settings=pair_settings,
    script:
        "../scripts/draw_pairs.py"
