"""Training through XTuner. Nothing outside this package imports XTuner or mmengine."""
