"""Score a text run's checkpoints on what they should say, should not say, and should not forget."""
