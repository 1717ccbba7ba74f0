"""A question that the embedded model answers at length, so that a test can act before it ends.

As the first one it gave 160 tokens and more in three draws, after a question about France 95; a story gave 27
there. After a picture every answer is short.
"""

LONG = "Explain in detail how to build a house, step by step."
