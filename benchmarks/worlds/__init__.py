"""Worlds whose best mixture is known: how near to it the policies come.

``python -m benchmarks.worlds`` trains small models on made-up domains, exactly, under every policy
and under the best fixed mixture, and prints a table. A policy sees a world as it sees a language
model: through noisy gradients of samples, turned into impact matrices once a round.

- `world.py`: what a world is; `quadratic_world.py` and `softmax_world.py`: the two kinds.
- `quadratic_cases.py`, `softmax_cases.py`: the worlds by name.
- `best_mixture.py`: the best fixed mixture, by an exact convex problem or a search.
- `policy_run.py`: a policy in a world, round by round; `outcome.py`: how it did.
"""
