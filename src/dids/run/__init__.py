"""One run from its config to its report: the run folder, the stages, the plan before the bill."""
