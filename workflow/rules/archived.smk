# With `--config from=reference` tables are taken from the archive, and no other rule makes any.


localrules:
    take_archived,


rule take_archived:
    input:
        archived_file,
    output:
        f"{RESULTS}/{{file}}",
    log:
        f"{RESULTS}/logs/take_archived/{{file}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/take_archived/{{file}}.tsv"
    wildcard_constraints:
        file=r".+\.(csv|npz)",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/take_archived.py"
