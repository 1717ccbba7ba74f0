"""Folders that a platform runs as they are: the app, this project's packages, requirements and the model."""
