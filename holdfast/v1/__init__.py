"""Stubs of protos/holdfast/v1, written by protos/generate.sh: never edit them by hand."""
