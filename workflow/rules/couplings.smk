# What is measured of the couplings themselves, without training.


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
