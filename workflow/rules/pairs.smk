# Noise-sample pairs, and what trained models do with them; how near the best of k noises comes.


rule draw_pairs:
    input:
        store=pair_store,
        model=pair_model,
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
        **gpus(pair_gpus),
        mem_mb=pair_memory,
        runtime=120,
    params:
        settings=pair_settings,
        run=pair_run,
        batch_size=pair_batch_size,
    script:
        "../scripts/draw_pairs.py"


rule measure_paths:
    input:
        pairs=f"{RESULTS}/pairs/{{dataset}}.npz",
    output:
        report(
            f"{RESULTS}/paths_{{dataset}}.csv",
            caption="../report/paths.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "paths"},
        ),
    log:
        f"{RESULTS}/logs/measure_paths/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_paths/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=pair_memory,
        runtime=60,
        gpu=0,
    params:
        batch_sizes=pair_batch_sizes,
    script:
        "../scripts/measure_paths.py"


rule count_crossings:
    input:
        pairs=f"{RESULTS}/pairs/{{dataset}}.npz",
    output:
        crossings=report(
            f"{RESULTS}/crossings_{{dataset}}.csv",
            caption="../report/crossings.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "crossings in t-SNE"},
        ),
        embedding=f"{RESULTS}/pairs/{{dataset}}.tsne.npz",
    log:
        f"{RESULTS}/logs/count_crossings/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/count_crossings/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=pair_memory,
        runtime=60,
        gpu=0,
    params:
        settings=embedding_settings,
    script:
        "../scripts/count_crossings.py"


rule measure_loss_over_time:
    input:
        loss_models,
    output:
        report(
            f"{RESULTS}/loss_over_time_{{dataset}}.csv",
            caption="../report/loss_over_time_table.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "loss over time"},
        ),
    log:
        f"{RESULTS}/logs/measure_loss_over_time/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_loss_over_time/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        **gpus(pair_gpus),
        mem_mb=pair_memory,
        runtime=120,
    params:
        settings=loss_settings,
        runs=loss_runs,
    script:
        "../scripts/measure_loss_over_time.py"


rule measure_reproducibility:
    input:
        compared_samples,
    output:
        report(
            f"{RESULTS}/reproducibility_{{dataset}}.csv",
            caption="../report/reproducibility_table.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "reproducibility"},
        ),
    log:
        f"{RESULTS}/logs/measure_reproducibility/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_reproducibility/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        runs=compared_runs,
    script:
        "../scripts/measure_reproducibility.py"


rule measure_best_of_k:
    output:
        report(
            f"{RESULTS}/best_of_k.csv",
            caption="../report/best_of_k_table.rst",
            category="Tables",
            labels={"dataset": "none", "table": "best of k noises"},
        ),
    log:
        f"{RESULTS}/logs/measure_best_of_k/best_of_k.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_best_of_k/best_of_k.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
        gpu=0,
    params:
        settings=best_of_k_settings,
    script:
        "../scripts/measure_best_of_k.py"
