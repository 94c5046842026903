# What is kept and passed on: the report, and the same as RO-Crate.


rule write_report:
    input:
        reported_results,
    output:
        f"{RESULTS}/report.zip",
    log:
        f"{RESULTS}/logs/write_report/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_report/report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        config=resolved_config,
    script:
        "../scripts/write_report.py"


rule write_crate:
    input:
        reported_results,
    output:
        f"{RESULTS}/crate.zip",
    log:
        f"{RESULTS}/logs/write_crate/crate.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_crate/crate.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        config=resolved_config,
    script:
        "../scripts/write_crate.py"
