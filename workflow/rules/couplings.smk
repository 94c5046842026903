# Couplings compared with each other.


rule collect_ablation:
    input:
        files=ablation_files,
        potentials=ablation_potential_files,
    output:
        report(
            f"{RESULTS}/coupling_ablation_{{dataset}}.csv",
            caption="../report/coupling_ablation_table.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "couplings"},
        ),
    log:
        f"{RESULTS}/logs/collect_ablation/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_ablation/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        folders=ablation_folders,
        potentials=ablation_potentials,
    script:
        "../scripts/collect_ablation.py"


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
