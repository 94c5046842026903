# Tables: of comparisons, of what matching costs, and of pairs of noise and sample.


rule collect_distances:
    input:
        runs=look.run_tables,
        real=look.real_tables,
        potentials=look.fitted_files,
    output:
        f"{RESULTS}/distances_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/collect_distances/{{comparison}}.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        folders=look.folders,
        tables=look.measured,
        potentials=look.fitted,
        conditions=look.conditions,
    script:
        "../scripts/collect_distances.py"


rule summarise:
    input:
        f"{RESULTS}/distances_{{comparison}}.csv",
    output:
        f"{RESULTS}/summary_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/summarise/{{comparison}}.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    script:
        "../scripts/summarise.py"


use rule summarise as measure_speed with:
    output:
        f"{RESULTS}/speed_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/measure_speed/{{comparison}}.log",


use rule summarise as write_fid with:
    output:
        f"{RESULTS}/fid_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/write_fid/{{comparison}}.log",
    wildcard_constraints:
        comparison=one_of(look.with_fid),


use rule summarise as write_memorising with:
    output:
        f"{RESULTS}/memorising_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/write_memorising/{{comparison}}.log",
    wildcard_constraints:
        comparison=one_of(look.with_memorising),


rule measure_costs:
    input:
        look.run_files,
    output:
        f"{RESULTS}/costs_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/measure_costs/{{comparison}}.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        folders=look.folders,
    script:
        "../scripts/measure_costs.py"


rule measure_reproducibility:
    input:
        look.samples,
    output:
        f"{RESULTS}/reproducibility_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/measure_reproducibility/{{comparison}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
        gpu=0,
    params:
        dataset=look.compared_dataset,
        models=look.models,
    script:
        "../scripts/measure_reproducibility.py"


rule measure_claims:
    input:
        unpack(look.claim_inputs),
    output:
        f"{RESULTS}/claims_{{comparison}}.csv",
    log:
        f"{RESULTS}/logs/measure_claims/{{comparison}}.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        claims=look.claims,
        settings=look.claim_settings,
    script:
        "../scripts/measure_claims.py"


rule measure_matching_share:
    input:
        store=look.store,
    output:
        f"{RESULTS}/matching_share_{{dataset}}.csv",
    log:
        f"{RESULTS}/logs/measure_matching_share/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: look.timed_threads
    resources:
        **look.resources(look.timed_run),
    params:
        settings=CONFIG.matching_share.plain(),
        run=look.timed_settings,
        threads=look.training_threads,
    script:
        "../scripts/measure_matching_share.py"


rule measure_coupling_marginals:
    input:
        unpack(look.marginal_inputs),
    output:
        f"{RESULTS}/coupling_marginals.csv",
    log:
        f"{RESULTS}/logs/measure_coupling_marginals/coupling_marginals.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        couplings=look.marginal_couplings,
        settings=look.marginal_settings,
    script:
        "../scripts/measure_coupling_marginals.py"


rule measure_matching_cost:
    output:
        f"{RESULTS}/matching_cost.csv",
    log:
        f"{RESULTS}/logs/measure_matching_cost/matching_cost.log",
    conda:
        ENVIRONMENT
    threads: CONFIG.matching_cost.threads
    resources:
        # What a cell may need, and the process it starts from.
        mem_mb=CONFIG.matching_cost.memory_mb + 2000,
        runtime=60,
        gpu=0,
    params:
        settings=CONFIG.matching_cost.plain(),
    script:
        "../scripts/measure_matching_cost.py"


rule measure_straightness:
    output:
        table=f"{RESULTS}/straightness.csv",
        trajectories=f"{RESULTS}/straightness.npz",
    log:
        f"{RESULTS}/logs/measure_straightness/straightness.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        settings=CONFIG.straightness.model_dump(mode="json"),
    script:
        "../scripts/measure_straightness.py"


rule measure_best_of_k:
    output:
        f"{RESULTS}/best_of_k.csv",
    log:
        f"{RESULTS}/logs/measure_best_of_k/best_of_k.log",
    conda:
        ENVIRONMENT
    resources:
        **SMALL,
    params:
        settings=CONFIG.best_of_k.plain(),
    script:
        "../scripts/measure_best_of_k.py"


# Finished shards stay in `encoding/`.
rule make_pipeline_pairs:
    input:
        pipeline=look.pipeline,
    output:
        directory(f"{RESULTS}/pairs/{{dataset}}"),
    log:
        f"{RESULTS}/logs/make_pipeline_pairs/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(look.pipelines),
    conda:
        ENVIRONMENT
    resources:
        **look.gpus(look.pipeline_gpus),
        mem_mb=16000,
        runtime=720,
    params:
        prompts=look.prompts,
        shape=look.pipeline_shape,
        settings=look.pipeline_settings,
        work=f"{RESULTS}/encoding/pairs/{{dataset}}",
    script:
        "../scripts/make_pipeline_pairs.py"


rule draw_pairs:
    input:
        unpack(look.draw_inputs),
    output:
        f"{RESULTS}/noise_sample_pairs/{{dataset}}.npz",
    log:
        f"{RESULTS}/logs/draw_pairs/{{dataset}}.log",
    priority: 1  # for the longest chain begins with it, once its runs are trained
    conda:
        ENVIRONMENT
    resources:
        **look.gpus(look.pair_gpus),
        mem_mb=look.pair_memory,
        runtime=120,
    params:
        settings=look.pair_settings("draws", "count", "match_sizes", "seed"),
        runs=look.draw_runs,
    script:
        "../scripts/draw_pairs.py"


rule measure_paths:
    input:
        pairs=f"{RESULTS}/noise_sample_pairs/{{dataset}}.npz",
    output:
        f"{RESULTS}/paths_{{dataset}}.csv",
    log:
        f"{RESULTS}/logs/measure_paths/{{dataset}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=look.pair_memory,
        runtime=60,
        gpu=0,
    params:
        settings=look.pair_settings("batch_sizes"),
    script:
        "../scripts/measure_paths.py"


rule count_crossings:
    input:
        pairs=f"{RESULTS}/noise_sample_pairs/{{dataset}}.npz",
    output:
        crossings=f"{RESULTS}/crossings_{{dataset}}.csv",
        embedding=f"{RESULTS}/noise_sample_pairs/{{dataset}}.tsne.npz",
    log:
        f"{RESULTS}/logs/count_crossings/{{dataset}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=look.pair_memory,
        runtime=60,
        gpu=0,
    params:
        settings=look.pair_settings("pairs", "perplexity", "embeddings"),
    script:
        "../scripts/count_crossings.py"


rule measure_loss_over_time:
    input:
        look.loss_models,
    output:
        f"{RESULTS}/loss_over_time_{{dataset}}.csv",
    log:
        f"{RESULTS}/logs/measure_loss_over_time/{{dataset}}.log",
    conda:
        ENVIRONMENT
    resources:
        **look.gpus(look.pair_gpus),
        mem_mb=look.pair_memory,
        runtime=120,
    params:
        settings=look.loss_settings,
        runs=look.loss_runs,
    script:
        "../scripts/measure_loss_over_time.py"
