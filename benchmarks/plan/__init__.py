"""The plan before the bill, beside the bill: three configs planned, then really run.

``python -m benchmarks.plan`` prints predicted and real processor time, memory and disk of every
stage. Processor time, because a machine that others use tells nothing by its clock on the wall;
``--clock wall`` compares that.
"""
