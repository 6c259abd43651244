"""Stubs of protos/holdfast/inference, written by protos/generate.sh: never edit them by hand."""
