"""How jobs ask a cluster for GPUs."""

from typing import Annotated, Literal

from pydantic import Field

from dansm.config.base import Model


class Cluster(Model):
    """How jobs ask a cluster for GPUs; a site's other settings are in workflow/profiles/slurm."""

    gpu_request: Literal["gpus", "gres"] = Field(
        default="gpus", description="As --gpus=2, or as --gres=gpu:2"
    )
    gpu_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        default=None, description="As the cluster names it: --gpus=a100:2, --gres=gpu:a100:2"
    )

    def request(self, gpus: int) -> dict[str, int | str | None]:
        """Return Snakemake's resources ``gpu``, ``gpu_model`` and ``gres`` for so many GPUs."""
        if gpus and self.gpu_request == "gres":
            kind = "gpu" if self.gpu_type is None else f"gpu:{self.gpu_type}"
            return {"gpu": 0, "gpu_model": None, "gres": f"{kind}:{gpus}"}
        return {"gpu": gpus, "gpu_model": self.gpu_type if gpus else None, "gres": None}
