"""A run's mixture and its regrouped records, in the form that other trainers read.

`run_mixture` knows the weights, `domain_records` and `record_files` the data, one file a target its
syntax, and `targets` is the table of them all.
"""
