"""The Open Inference Protocol, version 2: the same model for clients of Triton and KServe.

It deliberately computes nothing itself: its tensors become the histories that every other way in
gives, and the same scorer answers.
"""
