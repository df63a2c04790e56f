"""What a share of the gradient features costs in quality, on the data of a config.

``python -m benchmarks.domains CONFIG`` brings a run up to its features, one for every sample, then
makes domains from shares of them. Two measures, over several seeds: agreement with the domains that
all features give under another seed, beside that of two seeds with all features; and the
mean cosine of all samples' gradients to the centre of their domain.
"""
