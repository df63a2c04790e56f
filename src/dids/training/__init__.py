"""Training: models, the Trainer whose mixture follows the run, checkpoints that resume exactly."""
