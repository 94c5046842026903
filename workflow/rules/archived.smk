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
    wildcard_constraints:
        file=r".+\.(csv|npz)",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    script:
        "../scripts/take_archived.py"
