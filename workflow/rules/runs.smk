# Runs: what a coupling needs before, training, evaluation.
#
# The rolling state is in the run's folder `training/`, which is no declared output: Snakemake
# deletes the outputs of interrupted jobs, and a resumed job needs its state.


rule train_model:
    input:
        unpack(look.training_inputs),
        store=look.store,
    output:
        model=f"{RESULTS}/runs/{RUN}/model.safetensors",
        snapshots=directory(f"{RESULTS}/runs/{RUN}/snapshots"),
        stats=f"{RESULTS}/runs/{RUN}/stats.jsonl",
        run=f"{RESULTS}/runs/{RUN}/run.json",
    log:
        f"{RESULTS}/logs/train_model/{RUN}.log",
    # Training is what everything else waits for.
    priority: 1
    conda:
        ENVIRONMENT
    threads: look.threads
    resources:
        **look.resources(look.run, gpus=None),
    params:
        settings=look.settings,
        processes=look.processes,
    script:
        "../scripts/train_model.py"


rule evaluate_run:
    input:
        unpack(look.weights),
        run=f"{RESULTS}/runs/{RUN}/run.json",
        snapshots=f"{RESULTS}/runs/{RUN}/snapshots",
        store=look.pixel_store,
        held_out=look.held_out_store,
        autoencoder=look.autoencoder,
        reference=look.references,
        searched=look.searched,
    output:
        distances=f"{RESULTS}/runs/{RUN}/distances.csv",
        samples=f"{RESULTS}/runs/{RUN}/samples.npz",
        description=f"{RESULTS}/runs/{RUN}/evaluation.json",
    log:
        f"{RESULTS}/logs/evaluate_run/{RUN}.log",
    conda:
        ENVIRONMENT
    threads: look.threads
    resources:
        **look.resources(look.run),
    params:
        settings=look.settings,
        sampling=look.sampling,
        features=look.extractors,
        parts=look.parts,
        extractor=look.extractor_settings,
    script:
        "../scripts/evaluate_run.py"


# A comparison that samples the finished models of its runs in its own way.
use rule evaluate_run as sample_run with:
    output:
        distances=f"{RESULTS}/runs/{RUN}/sampled/{{comparison}}/distances.csv",
        samples=f"{RESULTS}/runs/{RUN}/sampled/{{comparison}}/samples.npz",
        description=f"{RESULTS}/runs/{RUN}/sampled/{{comparison}}/evaluation.json",
    log:
        f"{RESULTS}/logs/sample_run/{RUN}/{{comparison}}.log",


rule search_grid:
    input:
        unpack(look.search_weights),
        model=f"{RESULTS}/runs/{RUN}/model.safetensors",
        store=look.pixel_store,
        autoencoder=look.autoencoder,
        reference=look.search_reference,
    output:
        f"{RESULTS}/grids/{RUN}/{{grid}}-{{steps}}.json",
    log:
        f"{RESULTS}/logs/search_grid/{RUN}/{{grid}}-{{steps}}.log",
    wildcard_constraints:
        grid=one_of(name for name, entry in GRIDS.items() if entry.searched),
        steps="[1-9][0-9]*",
    conda:
        ENVIRONMENT
    threads: look.threads
    resources:
        **look.resources(look.run),
    params:
        settings=look.settings,
        search=look.search_settings,
        features=look.search_extractors,
        extractor=look.extractor_settings,
    script:
        "../scripts/search_grid.py"


rule fit_potentials:
    input:
        store=look.store,
    output:
        f"{RESULTS}/potentials/{{dataset}}/{{potentials}}.npz",
    log:
        f"{RESULTS}/logs/fit_potentials/{{dataset}}/{{potentials}}.log",
    conda:
        ENVIRONMENT
    resources:
        mem_mb=16000,
        runtime=720,
        gpu=0,
    params:
        settings=look.potentials_settings,
    script:
        "../scripts/fit_potentials.py"


# Finished shards stay in `encoding/` here, too.
rule make_pairs:
    input:
        model=look.teacher_model,
        store=look.inverted_images,
    output:
        directory(f"{RESULTS}/pairs/{PAIRS}"),
    log:
        f"{RESULTS}/logs/make_pairs/{PAIRS}.log",
    conda:
        ENVIRONMENT
    resources:
        **look.resources(look.teacher),
    params:
        run=look.teacher_settings,
        settings=look.pairs_settings,
        work=f"{RESULTS}/encoding/pairs/{PAIRS}",
    script:
        "../scripts/make_pairs.py"
