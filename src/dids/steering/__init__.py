"""What a person says of the mixture while a run goes on, and how the run keeps to it."""
