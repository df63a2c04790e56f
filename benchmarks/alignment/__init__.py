"""Whether alignments of features make clusters of content rather than of format.

``python -m benchmarks.alignment``: the same six topics in four formats, gradient features of a
small warmed-up proxy, clusters without an alignment and with each.
"""
