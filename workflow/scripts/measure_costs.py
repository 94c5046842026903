"""Sum up what the runs of a comparison, and their earlier stages, cost."""

from dansm.analysis.costs import measure_costs
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(measure_costs, snakemake.params.folders, snakemake.output[0])
