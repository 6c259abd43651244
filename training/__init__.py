"""From raw tables to an artifact: prepare, label, fit, calibrate, evaluate, export.

It deliberately does not know serving: the artifact on disk is all that they share.
"""
