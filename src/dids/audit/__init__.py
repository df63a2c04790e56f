"""Whether impact foretells what training does: train on every domain alone, and look."""
