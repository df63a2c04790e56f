"""The policies, one file each; their names stand in `dids.mixture.policy`."""
