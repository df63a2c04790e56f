"""How fast mixtures are drawn and how closely they are followed, beside other loaders."""
