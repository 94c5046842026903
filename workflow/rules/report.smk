# What is kept and passed on: the report, and the same as RO-Crate.


rule write_report:
    input:
        look.reported_results,
    output:
        f"{RESULTS}/report.zip",
    log:
        f"{RESULTS}/logs/write_report/report.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        config=CONFIG.model_dump(mode="json", by_alias=True, exclude={"trackers"}),
    script:
        "../scripts/write_report.py"


use rule write_report as write_crate with:
    output:
        f"{RESULTS}/crate.zip",
    log:
        f"{RESULTS}/logs/write_crate/crate.log",
