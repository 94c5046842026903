"""How time grids are searched for finished runs."""

from pydantic import Field, model_validator

from dansm.config.base import AtLeast2, Count, Model, Seed


class GridSearch(Model):
    """Budgets of the grids ``gits`` and ``evolved``; their noises are of no other use."""

    knots: AtLeast2 = Field(default=61, description="Times to choose from, equally spaced")
    noises: Count = Field(default=256, description="gits: solutions whose errors are averaged")
    images: AtLeast2 = Field(default=1024, description="evolved: generated for a score")
    population: Count = Field(default=10, description="evolved: candidates of a round")
    parents: Count = Field(default=4, description="evolved: the best, which have children")
    rounds: Count = Field(default=5, description="evolved: generations")
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> "GridSearch":
        if self.parents > self.population:
            raise ValueError(
                f"parents {self.parents}: expected at most the population, {self.population}"
            )
        return self
