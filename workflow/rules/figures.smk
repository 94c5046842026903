# Figures: one notebook each, executed by papermill, reading result files only.


rule distance_table:
    input:
        notebook="notebooks/distance_table.ipynb",
        distances=f"{RESULTS}/fid_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/distance_table_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/distance_table_{{dataset}}.png",
            caption="../report/distance_table.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "distances"},
        ),
        notebook=f"{RESULTS}/figures/distance_table_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/distance_table/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/distance_table/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
    script:
        "../scripts/execute_notebook.py"


rule distance_curves:
    input:
        notebook="notebooks/distance_curves.ipynb",
        distances=f"{RESULTS}/fid_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/distance_curves_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/distance_curves_{{dataset}}.png",
            caption="../report/distance_curves.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "training curves"},
        ),
        notebook=f"{RESULTS}/figures/distance_curves_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/distance_curves/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/distance_curves/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
    script:
        "../scripts/execute_notebook.py"


rule coupling_ablation:
    input:
        notebook="notebooks/coupling_ablation.ipynb",
        table=f"{RESULTS}/coupling_ablation_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/coupling_ablation_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/coupling_ablation_{{dataset}}.png",
            caption="../report/coupling_ablation.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "couplings"},
        ),
        notebook=f"{RESULTS}/figures/coupling_ablation_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/coupling_ablation/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/coupling_ablation/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule sample_grid:
    input:
        notebook="notebooks/sample_grid.ipynb",
        samples=grid_samples,
    output:
        pdf=f"{RESULTS}/figures/sample_grid_{{process}}_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/sample_grid_{{process}}_{{dataset}}.png",
            caption="../report/sample_grid.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "samples, {process}"},
        ),
        notebook=f"{RESULTS}/figures/sample_grid_{{process}}_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/sample_grid/{{process}}_{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sample_grid/{{process}}_{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        process="{process}",
        samples=grid_parameter,
        sampler=grid_sampler,
        steps=grid_steps,
        seed=grid_seed,
    script:
        "../scripts/execute_notebook.py"


rule noise_sample_tsne:
    input:
        notebook="notebooks/noise_sample_tsne.ipynb",
        pairs=f"{RESULTS}/pairs/{{dataset}}.npz",
    output:
        pdf=f"{RESULTS}/figures/noise_sample_tsne_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/noise_sample_tsne_{{dataset}}.png",
            caption="../report/noise_sample_tsne.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "noise-sample pairs"},
        ),
        notebook=f"{RESULTS}/figures/noise_sample_tsne_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/noise_sample_tsne/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/noise_sample_tsne/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        perplexity=pair_perplexity,
    script:
        "../scripts/execute_notebook.py"


rule matching_cost:
    input:
        notebook="notebooks/matching_cost.ipynb",
        costs=f"{RESULTS}/matching_cost.csv",
    output:
        pdf=f"{RESULTS}/figures/matching_cost.pdf",
        png=report(
            f"{RESULTS}/figures/matching_cost.png",
            caption="../report/matching_cost_figure.rst",
            category="Figures",
            labels={"dataset": "none", "figure": "cost of matching"},
        ),
        notebook=f"{RESULTS}/figures/matching_cost.ipynb",
    log:
        f"{RESULTS}/logs/matching_cost/matching_cost.log",
    benchmark:
        f"{RESULTS}/benchmarks/matching_cost/matching_cost.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        batch_size=matching_cost_batch_size,
    script:
        "../scripts/execute_notebook.py"
