# From runs to tables: features of real images, samples and distances of snapshots.


rule train_classifier:
    input:
        store=store_of,
    output:
        directory(f"{RESULTS}/classifiers/{{dataset}}"),
    log:
        f"{RESULTS}/logs/train_classifier/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_classifier/{{dataset}}.tsv"
    wildcard_constraints:
        dataset=one_of(CONFIG.classifiers),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        settings=classifier_settings,
    script:
        "../scripts/train_classifier.py"


rule compute_reference:
    input:
        store=store_of,
        classifier=classifier_for,
        inception=inception_for,
    output:
        features=f"{RESULTS}/features/{{dataset}}/{{extractor}}.npz",
        floor=f"{RESULTS}/features/{{dataset}}/{{extractor}}.floor.csv",
    log:
        f"{RESULTS}/logs/compute_reference/{{dataset}}/{{extractor}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compute_reference/{{dataset}}/{{extractor}}.tsv"
    conda:
        ENVIRONMENT
    threads: extractor_threads
    resources:
        **gpus(extractor_gpus),
        mem_mb=16000,
        runtime=240,
    params:
        extractor=extractor_options,
    script:
        "../scripts/compute_reference.py"


rule measure_reconstruction:
    input:
        store=pixel_store_of,
        latents=store_of,
        autoencoder=decoder_of,
        classifier=classifier_for,
        inception=inception_for,
        reference=reference_of_pixels,
    output:
        f"{RESULTS}/features/{{dataset}}/{{extractor}}.reconstruction.csv",
    log:
        f"{RESULTS}/logs/measure_reconstruction/{{dataset}}/{{extractor}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_reconstruction/{{dataset}}/{{extractor}}.tsv"
    conda:
        ENVIRONMENT
    threads: extractor_threads
    resources:
        **gpus(extractor_gpus),
        mem_mb=16000,
        runtime=240,
    params:
        extractor=extractor_options,
    script:
        "../scripts/measure_reconstruction.py"


rule evaluate_run:
    input:
        run=f"{RESULTS}/runs/{RUN}/run.json",
        snapshots=f"{RESULTS}/runs/{RUN}/snapshots",
        store=pixel_store_of,
        autoencoder=decoder_of,
        classifier=classifier_for,
        inception=inception_for,
        reference=reference_features_of,
    output:
        distances=f"{RESULTS}/runs/{RUN}/distances.csv",
        samples=f"{RESULTS}/runs/{RUN}/samples.npz",
        description=f"{RESULTS}/runs/{RUN}/evaluation.json",
    log:
        f"{RESULTS}/logs/evaluate_run/{RUN}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_run/{RUN}.tsv"
    conda:
        ENVIRONMENT
    threads: run_threads
    resources:
        **gpus(evaluation_gpus),
        mem_mb=run_memory,
        runtime=run_minutes,
    params:
        settings=run_settings,
        sampling=run_sampling,
        features=run_features,
        extractor=extractor_options,
    script:
        "../scripts/evaluate_run.py"


rule collect_distances:
    input:
        tables_of,
    output:
        report(
            f"{RESULTS}/fid_{{dataset}}.csv",
            caption="../report/fid.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "distances"},
        ),
    log:
        f"{RESULTS}/logs/collect_distances/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_distances/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/collect_distances.py"


rule collect_times:
    input:
        files=timed_files,
        potentials=timed_potential_files,
    output:
        report(
            f"{RESULTS}/times_{{dataset}}.csv",
            caption="../report/times.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "distances and training time"},
        ),
    log:
        f"{RESULTS}/logs/collect_times/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_times/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        folders=timed_folders,
        potentials=timed_potentials,
    script:
        "../scripts/collect_times.py"


rule measure_speed:
    input:
        f"{RESULTS}/times_{{dataset}}.csv",
    output:
        report(
            f"{RESULTS}/speed_{{dataset}}.csv",
            caption="../report/speed.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "training speed"},
        ),
    log:
        f"{RESULTS}/logs/measure_speed/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_speed/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    script:
        "../scripts/measure_speed.py"


rule measure_claims:
    input:
        distances=claim_distances,
        paths=of_pairs("paths"),
        crossings=of_pairs("crossings"),
        reproducibility=claim_reproducibility,
        speed=[f"{RESULTS}/speed_{{dataset}}.csv"],
        matching_share=[f"{RESULTS}/matching_share_{{dataset}}.csv"],
    output:
        report(
            f"{RESULTS}/claims_{{dataset}}.csv",
            caption="../report/claims.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "table": "claims"},
        ),
    log:
        f"{RESULTS}/logs/measure_claims/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_claims/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
        gpu=0,
    params:
        claims=claim_list,
        dataset="{dataset}",
        extractor=claim_extractor,
    script:
        "../scripts/measure_claims.py"
