# What `all` costs before it is started; `dansm plan TARGET` tells it of other targets.


localrules:
    plan,


# Not a script, since its output is for the terminal as well as for the log.
rule plan:
    log:
        f"{RESULTS}/logs/plan/plan.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        python=sys.executable,
        options=plan_options(),
    shell:
        "{params.python:q} -m dansm.cli plan {params.options:q} 2>&1 | tee {log:q}"
