"""LLaVA Tuning: train, talk to and deploy an assistant of your own that can see."""

__version__ = "0.1.0"
