# Training, and what a coupling needs before it.
#
# The rolling state is in the run's folder `training/`, which is no declared output: Snakemake
# deletes the outputs of interrupted jobs, and a resumed job needs its state.


rule train_model:
    input:
        store=store_of,
        potentials=potentials_of,
    output:
        model=f"{RESULTS}/runs/{RUN}/model.safetensors",
        snapshots=directory(f"{RESULTS}/runs/{RUN}/snapshots"),
        stats=f"{RESULTS}/runs/{RUN}/stats.jsonl",
        run=f"{RESULTS}/runs/{RUN}/run.json",
    log:
        f"{RESULTS}/logs/train_model/{RUN}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_model/{RUN}.tsv"
    # Training is what everything else waits for.
    priority: 1
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        **gpus(run_gpus),
        mem_mb=run_memory,
        runtime=run_minutes,
    params:
        settings=run_settings,
        processes=run_processes,
    script:
        "../scripts/train_model.py"


rule fit_potentials:
    input:
        store=store_of,
    output:
        f"{RESULTS}/potentials/{{dataset}}/{{coupling}}.npz",
    log:
        f"{RESULTS}/logs/fit_potentials/{{dataset}}/{{coupling}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_potentials/{{dataset}}/{{coupling}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=0,
    params:
        settings=potentials_settings,
    script:
        "../scripts/fit_potentials.py"
