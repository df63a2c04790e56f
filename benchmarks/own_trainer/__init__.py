"""What `PolicyMixture` is worth in a Trainer of one's own, sources as domains, beside uniform."""
