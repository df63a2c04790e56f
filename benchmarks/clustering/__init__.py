"""Clustering at scale: what it costs and how tight its clusters are, beside other libraries.

``python -m benchmarks.clustering --num 1000000 --dim 1024 --domains 256`` writes a mixture of
directions into a feature store in a temporary folder and clusters it by every row of `rows.py`,
each in a process of its own. Rows whose library is missing say so.
"""
