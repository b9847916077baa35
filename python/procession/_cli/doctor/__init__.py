"""`procession doctor`: what this system offers, tried and not guessed.

It imports nothing of procession's core, so that it also runs where that cannot: what
the core can do is tried in an interpreter of its own (`trial`).
"""
