"""Per-sample gradients: what they cost beside a plain pass, and what they keep.

``python -m benchmarks.gradients`` measures every row of the table in `rows.py` in one process, rows
alternating round by round: time as a ratio to a plain forward and backward pass of the same
batch, cosines of features against those of the full gradients, Fisher information against a loop
over samples, peak memory in a process of its own. Other libraries are rows where they import.
"""
