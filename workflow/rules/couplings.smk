# Couplings compared with each other.


rule collect_ablation:
    input:
        files=timed_files,
        potentials=timed_potential_files,
    output:
        report(
            f"{RESULTS}/coupling_ablation_{{ablation}}.csv",
            caption="../report/coupling_ablation_table.rst",
            category="Tables",
            labels={"couplings": "{ablation}", "table": "distances and time"},
        ),
    log:
        f"{RESULTS}/logs/collect_ablation/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_ablation/{{ablation}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        folders=timed_folders,
        potentials=timed_potentials,
    script:
        "../scripts/collect_times.py"


rule measure_coupling_marginals:
    input:
        store=marginal_store,
        potentials=marginal_potentials,
    output:
        report(
            f"{RESULTS}/coupling_marginals.csv",
            caption="../report/coupling_marginals.rst",
            category="Tables",
            labels={"table": "noise by coupling"},
        ),
    log:
        f"{RESULTS}/logs/measure_coupling_marginals/coupling_marginals.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_coupling_marginals/coupling_marginals.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        methods=marginal_methods,
        settings=marginal_settings,
    script:
        "../scripts/measure_coupling_marginals.py"


rule measure_matching_cost:
    output:
        report(
            f"{RESULTS}/matching_cost.csv",
            caption="../report/matching_cost.rst",
            category="Tables",
            labels={"dataset": "none", "table": "cost of matching"},
        ),
    log:
        f"{RESULTS}/logs/measure_matching_cost/matching_cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_matching_cost/matching_cost.tsv"
    conda:
        ENVIRONMENT
    threads: matching_cost_threads
    resources:
        mem_mb=matching_cost_memory,
        runtime=60,
        gpu=0,
    params:
        settings=matching_cost_settings,
    script:
        "../scripts/measure_matching_cost.py"


rule measure_coupling_speed:
    input:
        f"{RESULTS}/coupling_ablation_{{ablation}}.csv",
    output:
        report(
            f"{RESULTS}/coupling_speed_{{ablation}}.csv",
            caption="../report/coupling_speed.rst",
            category="Tables",
            labels={"couplings": "{ablation}", "table": "training speed"},
        ),
    log:
        f"{RESULTS}/logs/measure_coupling_speed/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_coupling_speed/{{ablation}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/measure_speed.py"


rule measure_coupling_claims:
    input:
        distances=[f"{RESULTS}/coupling_ablation_{{ablation}}.csv"],
        speed=[f"{RESULTS}/coupling_speed_{{ablation}}.csv"],
    output:
        report(
            f"{RESULTS}/coupling_claims_{{ablation}}.csv",
            caption="../report/coupling_claims.rst",
            category="Tables",
            labels={"couplings": "{ablation}", "table": "claims"},
        ),
    log:
        f"{RESULTS}/logs/measure_coupling_claims/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_coupling_claims/{{ablation}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        claims=claim_list,
        dataset=dataset_compared,
        extractor=claim_extractor,
    script:
        "../scripts/measure_claims.py"


rule measure_matching_share:
    input:
        store=store_of,
    output:
        report(
            f"{RESULTS}/matching_share_{{dataset}}.csv",
            caption="../report/matching_share.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "matching in a training step"},
        ),
    log:
        f"{RESULTS}/logs/measure_matching_share/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_matching_share/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: share_threads
    resources:
        **gpus(share_gpus),
        mem_mb=share_memory,
        runtime=120,
    params:
        settings=share_settings,
        run=share_run,
        threads=share_training_threads,
    script:
        "../scripts/measure_matching_share.py"
