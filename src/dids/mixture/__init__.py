"""From impact to the next mixture: the simplex problem, its limits, and the policies."""
