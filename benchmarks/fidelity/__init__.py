"""Fidelity of impact: what estimators say of domains, beside what training on them really does.

``python -m benchmarks.fidelity --work DIR --out DIR`` trains a small model on a uniform mixture of
each corpus, stops early, in the middle and late, trains on every domain alone from there, optimizer
state included, and compares the loss changes of all tasks with every row of `estimators.py`.
"""
