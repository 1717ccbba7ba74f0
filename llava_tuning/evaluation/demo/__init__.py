"""`llava-tuning eval demo`: what the bundled model claims, measured beside controls that do not see."""
