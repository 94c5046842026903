# What couplings cost and what they do, apart from any training.


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
