"""Is the data fit to train on: leaks, duplicates, records that say nothing, tokens and epochs.

Every source is read once, in batches; what is kept of a record lies on disk.
"""
