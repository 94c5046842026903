# Figures: one notebook each, which says what it reads and is executed by papermill.


rule draw_figure:
    input:
        unpack(look.figure_tables),
        notebook=f"{NOTEBOOKS}/{{figure}}.ipynb",
        shown=look.figure_samples,
    output:
        pdf=f"{RESULTS}/figures/{{figure}}{{subject}}.pdf",
        png=f"{RESULTS}/figures/{{figure}}{{subject}}.png",
        notebook=f"{RESULTS}/figures/{{figure}}{{subject}}.ipynb",
    log:
        f"{RESULTS}/logs/draw_figure/{{figure}}{{subject}}.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        subject=look.subject,
        reference=look.figure_reference,
        samples=look.figure_runs,
    script:
        "../scripts/draw_figure.py"
