"""What impact costs as domains grow: from features, on one core, at every size of its own process.

``python -m benchmarks.impact_growth`` times ``impact`` for 100 to 1,000 domains of 20 tasks, points
alone and with a bootstrap, and one decision of each policy on so many domains.
"""
