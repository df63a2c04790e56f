"""A contest of policies on a user's own data: same trainer, sampler, seeds and budget for all.

A contest is a folder of ordinary run folders; what they have in common is made once for each seed.
"""
