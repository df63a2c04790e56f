"""Growth: what every stage of a run takes as samples and as domains become more.

``python -m benchmarks.growth`` makes runs of 10,000 to a million samples and of 10 to 1,000 domains
and does their stages one by one, each in a process of its own on one thread. The corpus is made up,
and so are the features: computing them is linear in tokens and would take hours.
"""
