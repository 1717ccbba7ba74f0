"""Score a run's checkpoints on what they should say, should not say, and should not forget."""
