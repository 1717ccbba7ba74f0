"""What a training run writes into its directory, and how to read it again: without XTuner, never writing."""
