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


rule distance_time:
    input:
        notebook="notebooks/distance_curves.ipynb",
        distances=f"{RESULTS}/fid_{{dataset}}.csv",
        times=f"{RESULTS}/times_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/distance_time_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/distance_time_{{dataset}}.png",
            caption="../report/distance_time.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "training curves by time"},
        ),
        notebook=f"{RESULTS}/figures/distance_time_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/distance_time/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/distance_time/{{dataset}}.tsv"
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
        marginals=ablation_marginals,
        table=f"{RESULTS}/coupling_ablation_{{ablation}}.csv",
    output:
        pdf=f"{RESULTS}/figures/coupling_ablation_{{ablation}}.pdf",
        png=report(
            f"{RESULTS}/figures/coupling_ablation_{{ablation}}.png",
            caption="../report/coupling_ablation.rst",
            category="Figures",
            labels={"couplings": "{ablation}", "figure": "comparison"},
        ),
        notebook=f"{RESULTS}/figures/coupling_ablation_{{ablation}}.ipynb",
    log:
        f"{RESULTS}/logs/coupling_ablation/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/coupling_ablation/{{ablation}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule saving:
    input:
        notebook="notebooks/saving.ipynb",
        speed=f"{RESULTS}/speed_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/saving_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/saving_{{dataset}}.png",
            caption="../report/saving_figure.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "savings"},
        ),
        notebook=f"{RESULTS}/figures/saving_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/saving/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/saving/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule coupling_saving:
    input:
        notebook="notebooks/saving.ipynb",
        speed=f"{RESULTS}/coupling_speed_{{ablation}}.csv",
    output:
        pdf=f"{RESULTS}/figures/coupling_saving_{{ablation}}.pdf",
        png=report(
            f"{RESULTS}/figures/coupling_saving_{{ablation}}.png",
            caption="../report/coupling_saving_figure.rst",
            category="Figures",
            labels={"couplings": "{ablation}", "figure": "savings"},
        ),
        notebook=f"{RESULTS}/figures/coupling_saving_{{ablation}}.ipynb",
    log:
        f"{RESULTS}/logs/coupling_saving/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/coupling_saving/{{ablation}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule matching_share:
    input:
        notebook="notebooks/matching_share.ipynb",
        shares=f"{RESULTS}/matching_share_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/matching_share_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/matching_share_{{dataset}}.png",
            caption="../report/matching_share_figure.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "matching in a training step"},
        ),
        notebook=f"{RESULTS}/figures/matching_share_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/matching_share/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/matching_share/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule claims:
    input:
        notebook="notebooks/claims.ipynb",
        claims=f"{RESULTS}/claims_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/claims_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/claims_{{dataset}}.png",
            caption="../report/claims_figure.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "claims"},
        ),
        notebook=f"{RESULTS}/figures/claims_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/claims/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    script:
        "../scripts/execute_notebook.py"


rule coupling_claims:
    input:
        notebook="notebooks/claims.ipynb",
        claims=f"{RESULTS}/coupling_claims_{{ablation}}.csv",
    output:
        pdf=f"{RESULTS}/figures/coupling_claims_{{ablation}}.pdf",
        png=report(
            f"{RESULTS}/figures/coupling_claims_{{ablation}}.png",
            caption="../report/coupling_claims_figure.rst",
            category="Figures",
            labels={"couplings": "{ablation}", "figure": "claims"},
        ),
        notebook=f"{RESULTS}/figures/coupling_claims_{{ablation}}.ipynb",
    log:
        f"{RESULTS}/logs/coupling_claims/{{ablation}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/coupling_claims/{{ablation}}.tsv"
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
        crossings=f"{RESULTS}/crossings_{{dataset}}.csv",
        embedding=f"{RESULTS}/pairs/{{dataset}}.tsne.npz",
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
        origin=pair_origin,
    script:
        "../scripts/execute_notebook.py"


rule path_geometry:
    input:
        notebook="notebooks/path_geometry.ipynb",
        paths=f"{RESULTS}/paths_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/path_geometry_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/path_geometry_{{dataset}}.png",
            caption="../report/path_geometry.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "paths"},
        ),
        notebook=f"{RESULTS}/figures/path_geometry_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/path_geometry/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/path_geometry/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        origin=pair_origin,
    script:
        "../scripts/execute_notebook.py"


rule nearest_share:
    input:
        notebook="notebooks/nearest_share.ipynb",
        paths=f"{RESULTS}/paths_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/nearest_share_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/nearest_share_{{dataset}}.png",
            caption="../report/nearest_share.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "nearest noises"},
        ),
        notebook=f"{RESULTS}/figures/nearest_share_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/nearest_share/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/nearest_share/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        origin=pair_origin,
    script:
        "../scripts/execute_notebook.py"


rule loss_over_time:
    input:
        notebook="notebooks/loss_over_time.ipynb",
        losses=f"{RESULTS}/loss_over_time_{{dataset}}.csv",
    output:
        pdf=f"{RESULTS}/figures/loss_over_time_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/loss_over_time_{{dataset}}.png",
            caption="../report/loss_over_time.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "loss over time"},
        ),
        notebook=f"{RESULTS}/figures/loss_over_time_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/loss_over_time/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/loss_over_time/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        match_size=loss_match_size,
    script:
        "../scripts/execute_notebook.py"


rule reproducibility:
    input:
        notebook="notebooks/reproducibility.ipynb",
        table=f"{RESULTS}/reproducibility_{{dataset}}.csv",
        samples=compared_samples,
    output:
        pdf=f"{RESULTS}/figures/reproducibility_{{dataset}}.pdf",
        png=report(
            f"{RESULTS}/figures/reproducibility_{{dataset}}.png",
            caption="../report/reproducibility.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "figure": "reproducibility"},
        ),
        notebook=f"{RESULTS}/figures/reproducibility_{{dataset}}.ipynb",
    log:
        f"{RESULTS}/logs/reproducibility/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/reproducibility/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        dataset="{dataset}",
        runs=compared_runs,
    script:
        "../scripts/execute_notebook.py"


rule best_of_k:
    input:
        notebook="notebooks/best_of_k.ipynb",
        table=f"{RESULTS}/best_of_k.csv",
    output:
        pdf=f"{RESULTS}/figures/best_of_k.pdf",
        png=report(
            f"{RESULTS}/figures/best_of_k.png",
            caption="../report/best_of_k.rst",
            category="Figures",
            labels={"dataset": "none", "figure": "best of k noises"},
        ),
        notebook=f"{RESULTS}/figures/best_of_k.ipynb",
    log:
        f"{RESULTS}/logs/best_of_k/best_of_k.log",
    benchmark:
        f"{RESULTS}/benchmarks/best_of_k/best_of_k.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
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
