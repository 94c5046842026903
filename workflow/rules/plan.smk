# What `all` costs before it is started; `dansm plan TARGET` tells it of other targets.


localrules:
    plan,


def plan_options():
    """The configuration of this call, for the command that it makes."""
    base = Path("config/config.yaml").resolve()
    more = [path for path in workflow.configfiles if Path(path).resolve() != base]
    options = [f"--configfile={path}" for path in more]
    return options + ([f"--scale={CONFIG.scale}"] if CONFIG.scale else [])


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
