"""Impact: how far a step on each domain does for each task what a step on the task itself would."""
