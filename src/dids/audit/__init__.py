"""Whether impact foretells what training does: train on every domain, and look."""
