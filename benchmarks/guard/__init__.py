"""How fast the data is checked, in how much memory, and what of planted faults is found."""
