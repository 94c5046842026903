# What is kept and passed on: the report.


rule write_report:
    input:
        files=reported_results,
        introduction="workflow/report/workflow.rst",
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
        results=RESULTS,
        config=resolved_config,
        captions=captions,
    script:
        "../scripts/write_report.py"
